//! Appending: bytes that a client sends in the order of the file.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::Stream;

use super::{BodyFault, Service};
use crate::{
    domain::{Principal, SessionId, Upload},
    error::{Error, Result},
};

/// Bytes that a client appends to a session.
#[derive(Debug)]
pub struct Append<B> {
    /// The offset in the file of their first byte.
    pub offset: u64,
    /// Their length, if the client declared it before the body.
    pub declared_bytes: Option<u64>,
    /// Whether the body checks a digest at its end. Nothing is then recorded before the end.
    pub is_verified: bool,
    /// Whether the server finalizes the session when it has all bytes.
    pub finalizes: bool,
    /// The bytes.
    pub body: B,
}

/// The acknowledgement: the bytes are durable.
#[derive(Debug)]
pub struct Appended {
    /// Where the next append begins.
    pub offset: u64,
    /// The upload after the append.
    pub upload: Upload,
}

impl Service {
    /// Appends bytes to a session.
    pub async fn append<B>(
        self: &Arc<Self>,
        principal: &Principal,
        id: SessionId,
        append: Append<B>,
    ) -> Result<Appended>
    where
        B: Stream<Item = Result<Bytes, BodyFault>> + Unpin + Send + 'static,
    {
        let _ = (append, self.status(principal, id).await?);
        Err(Error::internal("under construction"))
    }

    /// The status of a session.
    pub async fn settled_status(
        self: &Arc<Self>,
        principal: &Principal,
        id: SessionId,
        always: bool,
    ) -> Result<Upload> {
        let _ = always;
        self.status(principal, id).await
    }
}

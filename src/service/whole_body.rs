//! The body of a request with a whole file.
//!
//! Owns the check that the body has exactly the bytes of the file. Does not store them.

use bytes::Bytes;
use futures_util::{Stream, StreamExt};

use super::{BodyFault, store::ended_early};
use crate::{
    domain::Upload,
    error::{Error, Result},
};

/// The body of a file. It must have exactly the bytes of the file.
pub(super) struct WholeBody<B> {
    inner: B,
    total_bytes: u64,
    left_bytes: u64,
}

impl<B> WholeBody<B>
where
    B: Stream<Item = Result<Bytes, BodyFault>> + Unpin,
{
    pub(super) fn new(inner: B, upload: &Upload) -> Self {
        let total_bytes = upload.file.size_bytes;
        Self { inner, total_bytes, left_bytes: total_bytes }
    }

    /// The next bytes; `None` after the last.
    pub(super) async fn next(&mut self) -> Result<Option<Bytes>> {
        match self.inner.next().await {
            Some(Ok(bytes)) => {
                let left = self.left_bytes.checked_sub(bytes.len() as u64);
                self.left_bytes = left.ok_or_else(|| Error::too_large("this file", self.total_bytes))?;
                Ok(Some(bytes))
            }
            None if self.left_bytes == 0 => Ok(None),
            None => Err(ended_early()),
            Some(Err(BodyFault::Refused(error))) => Err(error),
            Some(Err(BodyFault::Stopped)) => Err(Error::body_stopped()),
        }
    }
}

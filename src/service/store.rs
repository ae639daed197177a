//! Storing a whole file that comes in one request.
//!
//! Owns what such a request leaves behind: the stored file, or nothing, because its client has no means to go on. The
//! idempotency key of a request that left nothing is free again, so that the client can repeat the request. Does not own the
//! short way of a small file in a folder: that is `small_file`.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::Stream;

use super::{Append, BodyFault, CreateSession, Service, scope};
use crate::{
    domain::{Principal, SessionId, SessionStatus, Upload},
    error::{Code, Error, Result},
};

impl Service {
    /// Stores a file. A repeated request with the same idempotency key returns the file that the first one stored.
    ///
    /// # Errors
    /// Those of [`create`](Self::create) and [`append`](Self::append). `INVALID_INPUT` if the body has fewer bytes than the
    /// file. `IDEMPOTENCY_KEY_REUSED` also if the earlier request had other bytes, and
    /// the file has at most one part.
    pub async fn store<B>(
        self: &Arc<Self>,
        principal: &Principal,
        session: CreateSession,
        whole: Append<B>,
    ) -> Result<Upload>
    where
        B: Stream<Item = Result<Bytes, BodyFault>> + Unpin + Send + 'static,
    {
        if let Some(begin) = self.begin_small_file(principal, &session).await? {
            let this = Arc::clone(self);
            // Detached: a request that is dropped must not leave its bytes.
            return self.run_detached(async move { this.store_small_file(begin, whole).await }).await;
        }
        let upload = self.create_empty(principal, session).await?;
        match upload.session.status {
            _ if upload.is_stored() => return Ok(upload),
            status if !status.is_open() => return Err(Error::session_closed(&upload.session)),
            _ => {}
        }
        let (this, principal, id) = (Arc::clone(self), principal.clone(), upload.session.id);
        self.run_detached(async move {
            let stored = this.append(&principal, id, whole).await.and_then(|appended| stored(appended.upload));
            // If a newer request took over, it has the session now.
            if stored.as_ref().is_err_and(|error| error.code() != Code::Superseded) {
                // If this fails, the session expires.
                let _ = this.abandon(&principal, id).await;
            }
            stored
        })
        .await
    }

    /// Creates a session, or finds one without bytes. One with bytes was left by an earlier request, which a crash has ended
    /// or this one ends.
    async fn create_empty(self: &Arc<Self>, principal: &Principal, session: CreateSession) -> Result<Upload> {
        let found = self.create(principal, session.clone()).await?.upload;
        if !found.session.status.is_open() || !found.session.has_bytes() {
            return Ok(found);
        }
        self.abandon(principal, found.session.id).await?;
        Ok(self.create(principal, session).await?.upload)
    }

    async fn abandon(&self, principal: &Principal, id: SessionId) -> Result<()> {
        let now = self.clock.now();
        let owner = scope::everything(principal)?;
        let (upload, _) = self.end(Some(owner), id, |upload| upload.abandon(now)).await?;
        self.free_without_file(&upload.session).await
    }
}

fn stored(upload: Upload) -> Result<Upload> {
    match upload.session.status {
        SessionStatus::Complete => Ok(upload),
        _ => Err(ended_early()),
    }
}

pub(super) fn ended_early() -> Error {
    Error::invalid("upload_length", "the body ended before the end of the file")
}

//! Lost bytes.
//!
//! Owns what happens to an open session if the storage has lost bytes of recorded parts: it fails with the reason
//! `bytes_lost`, so the client reads the correct status and starts a new upload. A missing file alone does not prove a
//! loss, because the end of a session also moves or frees its bytes. It proves a loss if the session's row is still
//! open afterwards.

use super::Service;
use crate::{
    domain::{Part, Session, Upload},
    error::{Error, Result},
    storage,
};

const CHANGED: &str = "another request has stored bytes of the same part; send the part again";
const UNAVAILABLE: &str = "the storage cannot accept the request now";

impl Service {
    /// Whether the storage has the id that the database has. If a folder is not mounted, every file is missing; that
    /// does not prove that bytes are lost.
    async fn is_storage_available(&self) -> Result<bool> {
        let found = self.storage.binding().await.ok().flatten();
        Ok(found.is_some() && found == self.db.storage_id().await?)
    }

    /// The error for a stored file that cannot be read.
    pub(super) async fn explain_unreadable(&self, error: storage::Error) -> Error {
        match (&error, self.is_storage_available().await) {
            (storage::Error::Lost(_), Ok(false) | Err(_)) => Error::unavailable(UNAVAILABLE, error),
            _ => error.into(),
        }
    }

    /// Resolves a failure of the storage. If bytes are lost, fails the session. Returns the upload if it has ended, by
    /// this or by another request. `proves`: whether an open row proves the loss.
    ///
    /// # Errors
    /// The storage's error, if the session is still open.
    pub(super) async fn resolve_storage_failure(
        &self,
        session: &Session,
        error: storage::Error,
        proves: impl Fn(&Session) -> bool + Sync,
    ) -> Result<Upload> {
        if let storage::Error::Lost(_) = &error {
            if let Some(failed) = self.fail_lost(session, &error, &proves).await? {
                return Ok(failed);
            }
            if !self.is_storage_available().await? {
                return Err(Error::unavailable(UNAVAILABLE, error));
            }
        }
        match self.db.upload(&session.owner, session.id).await? {
            Some(now) if !now.session.status.is_open() => Ok(now),
            Some(now) if matches!(error, storage::Error::Lost(_)) && !proves(&now.session) => Err(Error::busy(CHANGED)),
            _ => Err(error.into()),
        }
    }

    /// The error for a request that needs an open session; see [`resolve_storage_failure`](Self::resolve_storage_failure).
    pub(super) async fn resolve_to_error(
        &self,
        session: &Session,
        error: storage::Error,
        proves: impl Fn(&Session) -> bool + Sync,
    ) -> Error {
        match self.resolve_storage_failure(session, error, proves).await {
            Ok(ended) => Error::session_closed(&ended.session),
            Err(error) => error,
        }
    }

    /// Fails a session whose bytes are lost and frees the rest of them. `None` if it had ended before or its row does not
    /// prove the loss.
    pub(super) async fn fail_lost(
        &self,
        session: &Session,
        problem: &storage::Error,
        proves: impl Fn(&Session) -> bool + Sync,
    ) -> Result<Option<Upload>> {
        if !self.is_storage_available().await? {
            return Ok(None);
        }
        let now = self.clock.now();
        let fail = |upload: &mut Upload| proves(&upload.session) && upload.fail_lost(now);
        let (upload, is_first) = self.end(Some(&session.owner), session.id, fail).await?;
        if !is_first {
            return Ok(None);
        }
        tracing::error!(session.id = %session.id, owner = %session.owner, %problem, "the storage has lost bytes of received parts");
        if let Err(error) = self.free(&upload.session).await {
            // The sweep will free the bytes. The caller needs the session that failed, not this error.
            error.log();
        }
        Ok(Some(upload))
    }
}

/// Whether missing bytes of a part are lost. If the session still lacks the part, it cannot be under completion, which moves the
/// bytes. If it still has the same tail, no append has replaced the object with the tail.
pub(super) fn still_needs(before: &Session, part: Part) -> impl Fn(&Session) -> bool + Sync {
    move |now| !now.received.contains(part.number) && now.tail_of(part) == before.tail_of(part)
}

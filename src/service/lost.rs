//! Bytes that are gone.
//!
//! Owns what becomes of an open session whose recorded parts are missing from the storage, whatever notices it: it
//! fails with the reason `bytes_lost`, so that its status is true and its client begins anew. A missing file alone
//! proves nothing, because a session that ends moves or frees its bytes too: what decides is that its row is still open
//! after it.

use super::Service;
use crate::{
    domain::{Session, SessionStatus, StatusReason},
    error::{Error, Result},
    storage,
};

const NOT_THERE: &str = "the storage cannot take the request now";

impl Service {
    /// Whether the storage is the one that the database belongs to. A folder that is not mounted now, or a bucket behind a
    /// proxy that knows nothing, lacks everything: that says nothing of a single file.
    async fn storage_is_there(&self) -> Result<bool> {
        let found = self.storage.binding().await.ok().flatten();
        Ok(found.is_some() && found == self.db.storage_id().await?)
    }

    /// What to answer for a stored file that cannot be read.
    pub(super) async fn explain_unreadable(&self, error: storage::Error) -> Error {
        match (&error, self.storage_is_there().await) {
            (storage::Error::Lost(_), Ok(false) | Err(_)) => Error::unavailable(NOT_THERE, error),
            _ => error.into(),
        }
    }

    /// What to answer for a session whose bytes the storage does not take or give: that it has ended, if it has ended in
    /// between or its bytes are lost; else the storage's error. `proves` says whether a row that is still open proves
    /// the loss.
    pub(super) async fn explain_failure(
        &self,
        session: &Session,
        error: storage::Error,
        proves: impl Fn(&Session) -> bool + Sync,
    ) -> Result<Error> {
        if let storage::Error::Lost(_) = &error
            && let Some(failed) = self.fail_lost(session, &error, proves).await?
        {
            return Ok(Error::session_closed(&failed));
        }
        if let storage::Error::Lost(_) = &error
            && !self.storage_is_there().await?
        {
            return Ok(Error::unavailable(NOT_THERE, error));
        }
        let now = self.db.session(&session.owner, session.id).await?;
        let ended = now.filter(|session| !session.status.is_open());
        Ok(ended.map_or_else(|| error.into(), |session| Error::session_closed(&session)))
    }

    /// Fails a session whose bytes are lost, and frees what is left of them. `None` if it had ended before or its row does
    /// not prove the loss.
    pub(super) async fn fail_lost(
        &self,
        session: &Session,
        problem: &storage::Error,
        proves: impl Fn(&Session) -> bool + Sync,
    ) -> Result<Option<Session>> {
        if !self.storage_is_there().await? {
            return Ok(None);
        }
        let reason = StatusReason::BytesLost;
        let (owner, status) = (Some(&session.owner), SessionStatus::Failed);
        let (view, is_first) = self.end_without_file(owner, session.id, status, reason, None, proves).await?;
        if !is_first {
            return Ok(None);
        }
        tracing::error!(session.id = %session.id.0, owner = %session.owner, %problem, "bytes of received parts are lost");
        if let Err(error) = self.free(&view.session).await {
            // The sweep frees the bytes; the caller that noticed the loss gets the answer that counts.
            error.log();
        }
        Ok(Some(view.session))
    }
}

//! Bytes that are gone.
//!
//! Owns what becomes of an open session whose recorded parts are missing from the storage, whatever notices it: it
//! fails with the reason `bytes_lost`, so that its status is true and its client begins anew. A missing file alone
//! proves nothing, because a session that ends moves or frees its bytes too: what decides is that its row is still open
//! after it.

use super::Service;
use crate::{
    domain::{Session, Upload},
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

    /// Explains why the storage does not take or give a session's bytes: answers the upload if it has ended, before this or
    /// now because its bytes are lost. `proves` says whether a row that is still open proves the loss.
    ///
    /// # Errors
    /// The storage's error, if the session is still open.
    pub(super) async fn explain_failure(
        &self,
        session: &Session,
        error: storage::Error,
        proves: impl Fn(&Session) -> bool + Sync,
    ) -> Result<Upload> {
        if let storage::Error::Lost(_) = &error {
            if let Some(failed) = self.fail_lost(session, &error, proves).await? {
                return Ok(failed);
            }
            if !self.storage_is_there().await? {
                return Err(Error::unavailable(NOT_THERE, error));
            }
        }
        let now = self.db.upload(&session.owner, session.id).await?;
        now.filter(|upload| !upload.session.status.is_open()).ok_or_else(|| error.into())
    }

    /// The same for a request that needs an open session: always an error.
    pub(super) async fn refuse_failed(
        &self,
        session: &Session,
        error: storage::Error,
        proves: impl Fn(&Session) -> bool + Sync,
    ) -> Error {
        match self.explain_failure(session, error, proves).await {
            Ok(ended) => Error::session_closed(&ended.session),
            Err(error) => error,
        }
    }

    /// Fails a session whose bytes are lost, and frees what is left of them. `None` if it had ended before or its row does
    /// not prove the loss.
    pub(super) async fn fail_lost(
        &self,
        session: &Session,
        problem: &storage::Error,
        proves: impl Fn(&Session) -> bool + Sync,
    ) -> Result<Option<Upload>> {
        if !self.storage_is_there().await? {
            return Ok(None);
        }
        let now = self.clock.now();
        let fail = |upload: &mut Upload| proves(&upload.session) && upload.fail_lost(now);
        let (upload, is_first) = self.end(Some(&session.owner), session.id, fail).await?;
        if !is_first {
            return Ok(None);
        }
        tracing::error!(session.id = %session.id, owner = %session.owner, %problem, "bytes of received parts are lost");
        if let Err(error) = self.free(&upload.session).await {
            // The sweep frees the bytes; the caller that noticed the loss gets the answer that counts.
            error.log();
        }
        Ok(Some(upload))
    }
}

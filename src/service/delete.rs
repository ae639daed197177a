//! Deleting a stored file.
//!
//! Owns the deletion by the owner and at the end of the retention. It has the two steps of an abort: a transaction records the
//! deletion, then the server frees the bytes: at once in a folder, and in a later sweep on an object store. After a crash
//! between the two, the sweep frees them. The session and the record of the file remain. Does not own the end of an open session: that is `abort`.

use std::sync::Arc;

use super::{Service, scope, sweep::BATCH};
use crate::{
    db,
    domain::{FileId, FileRecord, FileStatus, OwnerName, Principal, Session, SessionId, Upload},
    error::{Code, Error, Result},
};

impl Service {
    /// Deletes a stored file, if `may_change` accepts its present record. A repeated deletion changes nothing. A download that
    /// has begun continues to its end. Returns `None` if the row of the file or of its session is damaged; the file is deleted
    /// in this case too.
    ///
    /// # Errors
    /// `NOT_FOUND` if the caller has no such file, or it was never stored. `PRECONDITION_FAILED`.
    pub async fn delete_file(
        self: &Arc<Self>,
        principal: &Principal,
        id: FileId,
        may_change: impl Fn(&FileRecord) -> bool + Send + Sync + 'static,
    ) -> Result<Option<FileRecord>> {
        let owner = scope::everything(principal)?;
        let session = self.db.session_of_file(owner, id).await?.ok_or_else(|| Error::not_found("file"))?;
        let (this, principal) = (Arc::clone(self), principal.clone());
        let upload = self.run_detached(async move { this.delete(&principal, session, may_change).await }).await?;
        let Some(Upload { file, .. }) = upload else { return Ok(None) };
        match file.status {
            FileStatus::Deleted => Ok(Some(file)),
            FileStatus::Stored => Err(Error::precondition_failed()),
            FileStatus::Uploading | FileStatus::Failed => Err(Error::not_found("stored file")),
        }
    }

    /// Ends an upload, whatever its state: aborts an open session, and deletes the file of a complete one. A session that has
    /// ended without a file stays as it is.
    ///
    /// # Errors
    /// `NOT_FOUND` if the caller has no such session.
    pub async fn terminate(self: &Arc<Self>, principal: &Principal, id: SessionId) -> Result<()> {
        match self.abort(principal, id, |_| true).await {
            Err(error) if error.code() == Code::SessionClosed => {
                let (this, principal) = (Arc::clone(self), principal.clone());
                self.run_detached(async move { this.delete(&principal, id, |_| true).await }).await.map(drop)
            }
            aborted => aborted.map(drop),
        }
    }

    async fn delete(
        &self,
        principal: &Principal,
        id: SessionId,
        may_change: impl Fn(&FileRecord) -> bool + Sync,
    ) -> Result<Option<Upload>> {
        let now = self.clock.now();
        let delete = |upload: &mut Upload| may_change(&upload.file) && upload.delete_file(now);
        let owner = scope::everything(principal)?;
        let upload = match self.end(Some(owner), id, delete).await {
            Err(error) if error.is_corrupt() => {
                let session = self.delete_unreadable(Some(owner), id, &error).await?;
                self.free_without_file(&session).await?;
                return Ok(None);
            }
            ended => ended?.0,
        };
        // Also if it was deleted before: the request that deleted it may have stopped before it freed the bytes.
        self.free_without_file(&upload.session).await?;
        Ok(Some(upload))
    }

    async fn delete_unreadable(
        &self,
        owner: Option<&OwnerName>,
        id: SessionId,
        problem: &db::Error,
    ) -> Result<Session> {
        let deleted = self.db.delete_unreadable(owner, id, self.clock.now()).await?;
        let session = deleted.ok_or_else(|| Error::not_found("stored file"))?;
        tracing::error!(session.id = %id, %problem, "deleted a file with a damaged row");
        Ok(session)
    }

    /// Deletes the stored files whose retention has ended. Returns their number. The sweep then frees their bytes.
    pub(super) async fn delete_due_files(&self) -> Result<usize> {
        let (mut deleted, mut failed) = (0, 0);
        loop {
            let due = self.db.sessions_with_due_file(self.clock.now(), failed, BATCH).await?;
            if due.is_empty() {
                return Ok(deleted);
            }
            for id in due {
                let now = self.clock.now();
                let is_deleted = match self.end(None, id, |upload| upload.delete_due_file(now)).await {
                    Err(error) if error.is_corrupt() => self.delete_unreadable(None, id, &error).await.map(|_| true),
                    ended => ended.map(|(_, is_deleted)| is_deleted).map_err(Error::from),
                };
                // The next sweep tries those that failed again.
                match self.of_one(is_deleted) {
                    Some(true) => deleted += 1,
                    _ => failed += 1,
                }
            }
        }
    }
}

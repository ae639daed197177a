//! Ending a session without a file.
//!
//! Owns the abort by the owner, and the two steps of every such end: first the row says that the session has ended, then
//! its bytes are freed and the row says so. After a crash in between, the sweep frees them.

use std::sync::Arc;

use super::{Service, events::Event, run_detached};
use crate::{
    db::{self, EndedUnreadable},
    domain::{OwnerName, Principal, Session, SessionId, SessionStatus, StatusReason, Upload},
    error::{Error, Result},
};

impl Service {
    /// Aborts a session and frees its bytes, if it is open and `may_change` accepts its present state. Repeating an abort
    /// changes nothing more. Answers `None` if the session's row is damaged: it is aborted all the same.
    ///
    /// # Errors
    /// `NOT_FOUND`, `SESSION_CLOSED` if it is complete, `PRECONDITION_FAILED`.
    pub async fn abort(
        self: &Arc<Self>,
        principal: &Principal,
        id: SessionId,
        may_change: impl Fn(&Session) -> bool + Send + Sync + 'static,
    ) -> Result<Option<Upload>> {
        match self.db.session(&principal.owner, id).await {
            Ok(found) => drop(found.ok_or_else(|| Error::not_found("session"))?),
            Err(error) if error.is_corrupt() => {}
            Err(error) => return Err(error.into()),
        }
        let (this, owner) = (Arc::clone(self), principal.owner.clone());
        let aborted = run_detached(async move {
            let now = this.clock.now();
            let abort = |upload: &mut Upload| may_change(&upload.session) && upload.abort(now);
            let upload = match this.end(Some(&owner), id, abort).await {
                Err(error) if error.is_corrupt() => {
                    this.end_unreadable(Some(&owner), id, StatusReason::AbortedByOwner, &error).await?;
                    return Ok(None);
                }
                ended => ended?.0,
            };
            if upload.session.status.is_open() {
                return Err(Error::precondition_failed());
            }
            // Also if it had ended before: the request that ended it may have stopped before this.
            this.free_without_file(&upload.session).await?;
            Ok(Some(upload))
        })
        .await?;
        match aborted {
            Some(upload) if upload.session.status == SessionStatus::Complete => {
                Err(Error::session_closed(&upload.session))
            }
            aborted => Ok(aborted),
        }
    }

    /// Ends an upload by one of its moves and announces it. Answers the upload and whether this call ended it. Its bytes
    /// are still to be freed.
    pub(super) async fn end(
        &self,
        owner: Option<&OwnerName>,
        id: SessionId,
        end: impl Fn(&mut Upload) -> bool + Sync,
    ) -> db::Result<(Upload, bool)> {
        let (upload, is_first) = self.db.change_upload(owner, id, end).await?;
        if is_first {
            self.announce(Event::Ended(&upload));
        }
        Ok((upload, is_first))
    }

    /// Ends a session whose row is damaged, and frees its bytes.
    pub(super) async fn end_unreadable(
        &self,
        owner: Option<&OwnerName>,
        id: SessionId,
        reason: StatusReason,
        problem: &db::Error,
    ) -> Result<()> {
        match self.db.end_unreadable(owner, id, reason, self.clock.now()).await? {
            EndedUnreadable::WithoutFile(session) => {
                tracing::error!(session.id = %id, reason = reason.as_str(), %problem, "ended a session with a damaged row");
                self.free(&session).await
            }
            EndedUnreadable::Complete(session) => Err(Error::session_closed(&session)),
            EndedUnreadable::Unknown => Err(Error::not_found("session")),
        }
    }

    /// Frees the bytes of a session if it ended without a file.
    pub(super) async fn free_without_file(&self, session: &Session) -> Result<()> {
        match session.status_reason {
            Some(_) => self.free(session).await,
            None => Ok(()),
        }
    }

    /// Frees the bytes of a session that ended without a file. If its parts are lost, a complete file may be all that is
    /// left of it, as after the restore of an older database; that file stays.
    pub(super) async fn free(&self, session: &Session) -> Result<()> {
        self.prefix_hashes.forget(session.id);
        match session.status_reason {
            Some(StatusReason::BytesLost) => self.storage.discard_parts(session).await?,
            _ => self.storage.discard(session).await?,
        }
        Ok(self.db.mark_freed(session.id).await?)
    }
}

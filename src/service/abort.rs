//! Ending a session without a file.
//!
//! Owns giving up, by its owner here and for other reasons elsewhere: the row says so first, then the bytes go, then the
//! row says that they are gone. A crash in between leaves work that the sweep finds.

use std::sync::Arc;

use super::{Service, SessionView};
use crate::{
    db::{self, EndedUnreadable},
    domain::{FileStatus, OwnerName, Principal, Session, SessionId, SessionStatus, Sha256Digest, StatusReason},
    error::{Error, Result},
    metrics::SessionEvent,
};

impl Service {
    /// Aborts a session and frees its bytes, if it is open in a state that `may_change`. Again on the same session: nothing
    /// more happens. `None` if the session cannot be read: it is aborted all the same.
    ///
    /// # Errors
    /// `NOT_FOUND`, `SESSION_CLOSED` if it is complete, `PRECONDITION_FAILED`.
    pub async fn abort(
        self: &Arc<Self>,
        principal: &Principal,
        id: SessionId,
        may_change: impl Fn(&Session) -> bool + Send + Sync + 'static,
    ) -> Result<Option<SessionView>> {
        match self.db.session(&principal.owner, id).await {
            Ok(found) => drop(found.ok_or_else(|| Error::not_found("session"))?),
            Err(error) if error.is_corrupt() => {}
            Err(error) => return Err(error.into()),
        }
        let (this, owner) = (Arc::clone(self), principal.owner.clone());
        let view = super::to_the_end(async move {
            let reason = StatusReason::AbortedByOwner;
            let status = SessionStatus::Aborted;
            let (view, _) = match this.try_end(Some(&owner), id, status, reason, None, may_change).await {
                Err(error) if error.is_corrupt() => {
                    this.end_unreadable(Some(&owner), id, reason, &error).await?;
                    return Ok(None);
                }
                ended => ended?,
            };
            if view.session.status.is_open() {
                return Err(Error::precondition_failed());
            }
            if view.session.status_reason.is_some() {
                // Also when it had ended before: the try that ended it may not have come to this.
                this.free(&view.session).await?;
            }
            Ok(Some(view))
        })
        .await?;
        match view {
            Some(view) if view.session.status == SessionStatus::Complete => Err(Error::session_closed(&view.session)),
            view => Ok(view),
        }
    }

    /// Ends a session that cannot be read, and frees its bytes.
    pub(super) async fn end_unreadable(
        &self,
        owner: Option<&OwnerName>,
        id: SessionId,
        reason: StatusReason,
        problem: &db::Error,
    ) -> Result<()> {
        match self.db.end_unreadable(owner, id, reason, self.clock.now()).await? {
            EndedUnreadable::WithoutFile(session) => {
                tracing::error!(session.id = %id.0, reason = reason.as_str(), %problem, "ended a session that cannot be read");
                self.free(&session).await
            }
            EndedUnreadable::Complete(session) => Err(Error::session_closed(&session)),
            EndedUnreadable::Unknown => Err(Error::not_found("session")),
        }
    }

    /// Ends an open session, in its owner's turn or the server's, if it `is_due` as its row is now; answers whether this call
    /// ended it. Its bytes are still to be freed.
    pub(super) async fn end_without_file(
        &self,
        owner: Option<&OwnerName>,
        id: SessionId,
        status: SessionStatus,
        reason: StatusReason,
        actual_sha256: Option<Sha256Digest>,
        is_due: impl Fn(&Session) -> bool + Sync,
    ) -> Result<(SessionView, bool)> {
        Ok(self.try_end(owner, id, status, reason, actual_sha256, is_due).await?)
    }

    /// The same, with the database's own error.
    pub(super) async fn try_end(
        &self,
        owner: Option<&OwnerName>,
        id: SessionId,
        status: SessionStatus,
        reason: StatusReason,
        actual_sha256: Option<Sha256Digest>,
        is_due: impl Fn(&Session) -> bool + Sync,
    ) -> db::Result<(SessionView, bool)> {
        let now = self.clock.now();
        let (session, file, is_first) = self
            .db
            .change_session(owner, id, |session, file| {
                let is_first = is_due(session) && session.close(status, Some(reason), now);
                if is_first {
                    file.status = FileStatus::Failed;
                    file.sha256 = actual_sha256;
                    file.updated_at = now;
                }
                is_first
            })
            .await?;
        if is_first {
            self.tell(&session, reason);
        }
        Ok((SessionView { session, file }, is_first))
    }

    fn tell(&self, session: &Session, reason: StatusReason) {
        let (event, message) = match reason {
            StatusReason::AbortedByOwner => (SessionEvent::Aborted, "session aborted"),
            StatusReason::Expired => (SessionEvent::Expired, "session expired"),
            StatusReason::ChecksumMismatch => (SessionEvent::Failed, "session failed: checksum mismatch"),
            StatusReason::BytesLost => (SessionEvent::Failed, "session failed: bytes of received parts are lost"),
        };
        self.metrics.count_session(event);
        tracing::info!(session.id = %session.id.0, reason = reason.as_str(), "{message}");
    }

    /// Frees the bytes of a session that ended without a file. If its parts are lost, a complete file that is there all
    /// the same may be all that is left, as after the restore of an older database: it is not removed.
    pub(super) async fn free(&self, session: &Session) -> Result<()> {
        self.prefix_hashes.forget(session.id);
        match session.status_reason {
            Some(StatusReason::BytesLost) => self.storage.discard_parts(session).await?,
            _ => self.storage.discard(session).await?,
        }
        Ok(self.db.mark_freed(session.id).await?)
    }
}

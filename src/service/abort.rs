//! Ending a session without a file.
//!
//! Owns giving up, by its owner here and for other reasons elsewhere: the row says so first, then the bytes go, then the
//! row says that they are gone. A crash in between leaves work that the sweep finds.

use super::{Service, SessionView};
use crate::{
    domain::{FileStatus, Principal, SessionId, SessionStatus, Sha256Digest, StatusReason},
    error::{Error, Result},
    telemetry::SessionEvent,
};

impl Service {
    /// Aborts a session and frees its bytes. Again on the same session: nothing more happens.
    ///
    /// # Errors
    /// `NOT_FOUND`, `SESSION_CLOSED` if it is complete.
    pub async fn abort(&self, principal: &Principal, id: SessionId) -> Result<SessionView> {
        self.own_session(principal, id).await?;
        let reason = StatusReason::AbortedByOwner;
        let (view, is_first) = self.end_without_file(id, SessionStatus::Aborted, reason, None).await?;
        if view.session.status == SessionStatus::Complete {
            return Err(Error::session_closed(&view.session));
        }
        if is_first {
            self.metrics.count_session(SessionEvent::Aborted);
            tracing::info!(session.id = %id.0, "session aborted");
        }
        Ok(view)
    }

    /// Ends an open session, unless it has ended already, and frees its bytes. Answers whether this call ended it.
    pub(super) async fn end_without_file(
        &self,
        id: SessionId,
        status: SessionStatus,
        reason: StatusReason,
        actual_sha256: Option<Sha256Digest>,
    ) -> Result<(SessionView, bool)> {
        let now = self.clock.now();
        let mut is_first = false;
        let (session, file) = self
            .db
            .change_session(id, |session, file| {
                // The sweep may have looked before a part arrived.
                let overdue = reason != StatusReason::Expired || session.expires_at <= now;
                is_first = overdue && session.close(status, Some(reason), now);
                if is_first {
                    file.status = FileStatus::Failed;
                    file.sha256 = actual_sha256;
                    file.updated_at = now;
                }
                is_first
            })
            .await?;
        if is_first {
            self.free(&session).await?;
        }
        Ok((SessionView { session, file }, is_first))
    }

    /// Frees the bytes of a session that ended without a file.
    pub(super) async fn free(&self, session: &crate::domain::Session) -> Result<()> {
        self.prefix_hashes.forget(session.id);
        self.storage.discard(session.id, session.file_id).await?;
        Ok(self.db.mark_freed(session.id).await?)
    }
}

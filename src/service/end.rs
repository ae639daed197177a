//! Ending a session (complete, failed, aborted or expired), and deleting its file.
//!
//! Owns the steps that all ends have in common. A transaction ends the session, or deletes the file. Then the server counts
//! and logs that. If the session has no file, the server frees its bytes and marks its row as freed. After a crash between
//! these steps, the sweep frees the bytes.

use super::{Service, events::Event};
use crate::{
    db::{self, EndedUnreadable},
    domain::{OwnerName, Session, SessionId, StatusReason, Upload},
    error::{Error, Result},
    spans::span,
};

impl Service {
    /// Ends an upload, or deletes its file, with the state change `end`, and announces that. Returns the upload and whether this
    /// call changed it. Does not free its bytes.
    pub(super) async fn end(
        &self,
        owner: Option<&OwnerName>,
        id: SessionId,
        end: impl Fn(&mut Upload) -> bool + Sync,
    ) -> db::Result<(Upload, bool)> {
        let step = span!("record end");
        let (upload, is_first) = self.db.change_upload(owner, id, end).await?;
        drop(step);
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

    /// Frees the bytes of a session if it ended without a file, or if its file was deleted from a folder. On an object store a node
    /// may be sending the deleted file, so the sweep frees it later; see `downloads`.
    pub(super) async fn free_without_file(&self, session: &Session) -> Result<()> {
        if session.status_reason.is_some() || session.file_deleted && self.storage.as_folder().is_some() {
            self.free(session).await?;
        }
        Ok(())
    }

    /// Frees the bytes of a session that ended without a file, or whose file was deleted. If its parts are lost, keeps a complete file: after the
    /// restore of an older database, it may be the only remaining copy.
    pub(super) async fn free(&self, session: &Session) -> Result<()> {
        let _step = span!("free bytes");
        self.prefix_hashes.forget(session.id);
        match session.status_reason {
            Some(StatusReason::BytesLost) if !session.file_deleted => self.storage.discard_parts(session).await?,
            _ => self.storage.discard(session).await?,
        }
        Ok(self.db.mark_freed(session.id).await?)
    }
}

//! Making the parts a file.
//!
//! Owns what finalize checks, and that it can be called again: after a crash, at the same time from two clients, or
//! because the answer was lost. The bytes are never copied.

use super::{Service, SessionView, create::parse_sha256};
use crate::{
    domain::{FileRecord, FileStatus, Principal, Session, SessionId, SessionStatus, Sha256Digest, StatusReason},
    error::{Error, Result},
    telemetry::SessionEvent,
};

impl Service {
    /// Makes a session whose parts have all arrived a stored file. Again on the same session: the same answer.
    ///
    /// `sha256` is what the client says the file's SHA-256 is, in hex. If it is wrong nothing changes. If the SHA-256
    /// declared at creation is wrong, the session fails for good: its parts cannot be sent again.
    ///
    /// # Errors
    /// `NOT_FOUND`, `INVALID_INPUT`, `PARTS_MISSING` with the missing ranges, `CHECKSUM_MISMATCH` with both digests,
    /// `SESSION_CLOSED` if it was aborted.
    pub async fn finalize(&self, principal: &Principal, id: SessionId, sha256: Option<&str>) -> Result<SessionView> {
        let said = parse_sha256(sha256)?;
        let SessionView { session, file } = self.status(principal, id).await?;
        match session.status {
            SessionStatus::Complete => return completed(SessionView { session, file }, said),
            SessionStatus::Failed | SessionStatus::Aborted => return Err(ended(&session, &file)),
            SessionStatus::Init | SessionStatus::InProgress => {}
        }
        if !session.has_all_parts() {
            return Err(Error::parts_missing(&session.received, session.plan.total_parts()));
        }
        self.keep_open(&session).await?;
        let actual = self.prefix_hashes.finish(&self.storage, &session).await;
        let actual = match actual {
            Ok(actual) => actual,
            Err(error) => return self.ended_meanwhile(principal, id, said, error).await,
        };
        if let Some(said) = said.filter(|said| *said != actual) {
            return Err(Error::checksum_mismatch("file", said, actual));
        }
        if session.declared_sha256.is_some_and(|declared| declared != actual) {
            return self.fail(&session, actual).await;
        }
        match self.storage.complete(&session).await {
            Ok(location) => self.record_complete(&session, actual, location).await,
            Err(error) => self.ended_meanwhile(principal, id, said, error).await,
        }
    }

    /// Hashing a large file can take longer than the session has left.
    async fn keep_open(&self, session: &Session) -> Result<()> {
        let (now, ttl) = (self.clock.now(), self.limits.session_ttl);
        self.db.change_session(session.id, |session, _| session.keep_alive(now, ttl)).await?;
        Ok(())
    }

    async fn record_complete(&self, session: &Session, actual: Sha256Digest, location: String) -> Result<SessionView> {
        let now = self.clock.now();
        let mut is_first = false;
        let (session, file) = self
            .db
            .change_session(session.id, |session, file| {
                is_first = session.close(SessionStatus::Complete, None, now);
                if is_first {
                    file.status = FileStatus::Stored;
                    file.sha256 = Some(actual);
                    file.location = Some(location);
                    file.updated_at = now;
                }
                is_first
            })
            .await?;
        if session.status != SessionStatus::Complete {
            // Aborted while the file was being renamed; its bytes are to go, wherever they are now.
            self.storage.discard(session.id, session.file_id).await?;
            return Err(Error::session_closed(&session));
        }
        self.prefix_hashes.forget(session.id);
        if is_first {
            self.metrics.count_session(SessionEvent::Finalized);
            tracing::info!(
                session.id = %session.id.0,
                file.id = %file.id.0,
                size_bytes = file.size_bytes,
                sha256 = %actual,
                "session finalized"
            );
        }
        Ok(SessionView { session, file })
    }

    async fn fail(&self, session: &Session, actual: Sha256Digest) -> Result<SessionView> {
        let view =
            self.end_without_file(session.id, SessionStatus::Failed, StatusReason::ChecksumMismatch, Some(actual));
        let (view, is_first) = view.await?;
        if is_first {
            self.metrics.count_session(SessionEvent::Failed);
            tracing::warn!(session.id = %session.id.0, sha256 = %actual, "session failed: checksum mismatch");
        }
        Err(ended(&view.session, &view.file))
    }

    /// The bytes were not where they should be: because another finalize or an abort was faster, or because they are
    /// really lost.
    async fn ended_meanwhile(
        &self,
        principal: &Principal,
        id: SessionId,
        said: Option<Sha256Digest>,
        error: crate::storage::Error,
    ) -> Result<SessionView> {
        let view = self.status(principal, id).await?;
        match view.session.status {
            SessionStatus::Complete => completed(view, said),
            SessionStatus::Failed | SessionStatus::Aborted => Err(ended(&view.session, &view.file)),
            SessionStatus::Init | SessionStatus::InProgress => Err(error.into()),
        }
    }
}

fn completed(view: SessionView, said: Option<Sha256Digest>) -> Result<SessionView> {
    match (said, view.file.sha256) {
        (Some(said), Some(actual)) if said != actual => Err(Error::checksum_mismatch("file", said, actual)),
        _ => Ok(view),
    }
}

fn ended(session: &Session, file: &FileRecord) -> Error {
    match (session.status_reason, session.declared_sha256, file.sha256) {
        (Some(StatusReason::ChecksumMismatch), Some(declared), Some(actual)) => {
            Error::checksum_mismatch("file", declared, actual)
        }
        _ => Error::session_closed(session),
    }
}

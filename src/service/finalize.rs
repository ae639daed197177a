//! Making the parts a file.
//!
//! Owns what finalize checks, and that it can be called again: after a crash, at the same time from two clients, or
//! because the answer was lost. The bytes are never copied.

use std::sync::Arc;

use super::{Service, SessionView, create::parse_sha256};
use crate::{
    domain::{FileStatus, Principal, Session, SessionId, SessionStatus, Sha256Digest, StatusReason},
    error::{Error, Result},
    telemetry::SessionEvent,
};

impl Service {
    /// Makes a session whose parts have all arrived a stored file. Again on the same session: the same answer.
    ///
    /// `sha256` is what the client says the file's SHA-256 is, in hex. If it is wrong the session stays open. If the SHA-256
    /// declared at creation is wrong, the session fails for good: its parts cannot be sent again.
    ///
    /// # Errors
    /// `NOT_FOUND`, `INVALID_INPUT`, `PARTS_MISSING` with the missing ranges, `CHECKSUM_MISMATCH` with both digests,
    /// `SESSION_CLOSED` if it was aborted.
    pub async fn finalize(
        self: &Arc<Self>,
        principal: &Principal,
        id: SessionId,
        sha256: Option<&str>,
    ) -> Result<SessionView> {
        let said = parse_sha256(sha256)?;
        let view = self.status(principal, id).await?;
        let plan = view.session.plan;
        if view.session.status.is_open() && !view.session.has_all_parts() {
            return Err(Error::parts_missing(&view.session.received, plan.total_parts()));
        }
        let view = if view.session.status.is_open() { self.keep_open(id).await? } else { view };
        if !view.session.status.is_open() {
            return ended(view, said);
        }
        match self.prefix_hashes.finish(&self.storage, &view.session).await {
            Ok(actual) => self.complete(principal, view.session, said, actual).await,
            Err(error) => self.ended_meanwhile(principal, id, said, error).await,
        }
    }

    /// Hashing a large file can take longer than the session has left.
    async fn keep_open(&self, id: SessionId) -> Result<SessionView> {
        let (now, ttl) = (self.clock.now(), self.limits.session_ttl);
        let (session, file) = self.db.change_session(id, |session, _| session.keep_alive(now, ttl)).await?;
        Ok(SessionView { session, file })
    }

    async fn complete(
        self: &Arc<Self>,
        principal: &Principal,
        session: Session,
        said: Option<Sha256Digest>,
        actual: Sha256Digest,
    ) -> Result<SessionView> {
        if let Some(said) = said.filter(|said| *said != actual) {
            return Err(Error::checksum_mismatch("file", said, actual));
        }
        let (this, principal) = (Arc::clone(self), principal.clone());
        super::to_the_end(async move {
            if session.declared_sha256.is_some_and(|declared| declared != actual) {
                return this.fail(&session, actual).await;
            }
            match this.storage.complete(&session).await {
                Ok(location) => this.record_complete(&session, actual, location).await,
                Err(error) => this.ended_meanwhile(&principal, session.id, said, error).await,
            }
        })
        .await
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
            self.free(session.id, session.file_id).await?;
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
        let reason = StatusReason::ChecksumMismatch;
        ended(self.end_without_file(session.id, SessionStatus::Failed, reason, Some(actual)).await?, None)
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
        if view.session.status.is_open() {
            return Err(error.into());
        }
        self.prefix_hashes.forget(id);
        ended(view, said)
    }
}

/// What a finalize of a session that has ended answers: what the one that ended it did.
fn ended(view: SessionView, said: Option<Sha256Digest>) -> Result<SessionView> {
    let SessionView { session, file } = &view;
    match (session.status, session.status_reason, file.sha256) {
        (SessionStatus::Complete, _, Some(actual)) => match said.filter(|said| *said != actual) {
            Some(said) => Err(Error::checksum_mismatch("file", said, actual)),
            None => Ok(view),
        },
        (SessionStatus::Failed, Some(StatusReason::ChecksumMismatch), Some(actual)) => {
            Err(Error::checksum_mismatch("file", session.declared_sha256.unwrap_or(actual), actual))
        }
        _ => Err(Error::session_closed(session)),
    }
}

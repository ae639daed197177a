//! Making the parts a file.
//!
//! Owns what finalize checks, and that it can be called again: after a crash, at the same time from two clients, or
//! because the answer was lost. The bytes are never copied. Whether they are the right ones is known before they are
//! completed where they can be read by then, else after it; either way before anybody is told that they are a file.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use super::{Service, SessionView, create::parse_sha256};
use crate::{
    domain::{
        FileStatus, PartRecord, PartSet, Principal, Session, SessionId, SessionStatus, Sha256Digest, StatusReason,
    },
    error::{Error, Result},
    metrics::SessionEvent,
    storage,
};

/// What the client says of the file that it finalizes, in hex.
#[derive(Clone, Copy, Debug, Default)]
pub struct ExpectedDigests<'a> {
    /// The SHA-256 of the whole file.
    pub sha256: Option<&'a str>,
    /// The SHA-256 over the parts' SHA-256; see [`Sha256Digest::composite`].
    pub composite_sha256: Option<&'a str>,
}

impl Service {
    /// Makes a session whose parts have all arrived a stored file. Again on the same session: the same answer.
    ///
    /// If one of the expected digests is wrong the session stays open, or as it ended. If the SHA-256 declared at creation
    /// is wrong, the session fails for good: its parts cannot be sent again. Whether an open session `may_change` is asked
    /// of the state in which finalizing finds it.
    ///
    /// # Errors
    /// `NOT_FOUND`, `INVALID_INPUT`, `PARTS_MISSING` with the missing ranges, `CHECKSUM_MISMATCH` with both digests,
    /// `SESSION_CLOSED` if it was aborted, `PRECONDITION_FAILED`.
    pub async fn finalize(
        self: &Arc<Self>,
        principal: &Principal,
        id: SessionId,
        expected: ExpectedDigests<'_>,
        may_change: impl Fn(&Session) -> bool + Send + Sync,
    ) -> Result<SessionView> {
        let said = parse_sha256("sha256", expected.sha256)?;
        let composite = parse_sha256("composite_sha256", expected.composite_sha256)?;
        let view = self.status(principal, id).await?;
        if view.session.status.is_open() && view.session.has_all_parts() && composite.is_some() {
            let parts = self.db.all_parts(&view.session).await?;
            check_composite(composite, Sha256Digest::composite(parts.iter().map(|part| part.sha256)))?;
        }
        let view = self.finalize_view(view, said, may_change).await?;
        view.file.composite_sha256.map_or(Ok(()), |actual| check_composite(composite, actual))?;
        Ok(view)
    }

    async fn finalize_view(
        self: &Arc<Self>,
        view: SessionView,
        said: Option<Sha256Digest>,
        may_change: impl Fn(&Session) -> bool + Send + Sync,
    ) -> Result<SessionView> {
        let plan = view.session.plan;
        if view.session.status.is_open() && !view.session.has_all_parts() {
            return Err(Error::parts_missing(&view.session.received, plan.total_parts()));
        }
        let view = match view.session.status.is_open() {
            true => self.keep_open(&view.session, may_change).await?,
            false => view,
        };
        if !view.session.status.is_open() {
            return self.ended(view, said).await;
        }
        let session = view.session;
        let parts = self.db.all_parts(&session).await?;
        // Another finalize may have found parts that are to be sent again.
        let received: PartSet = parts.iter().map(|record| record.part.number).collect();
        if received.len() < plan.total_parts() {
            return Err(Error::parts_missing(&received, plan.total_parts()));
        }
        // If somebody else wrote to the bytes they are compared with what arrived, whether a digest is asked for or not.
        let has_changed = self.storage.changed_by_others(&session).await?.is_some();
        let wanted = said.is_some() || has_changed || self.hashes_file(&session);
        let known = match wanted {
            true => self.prefix_hashes.finish(&*self.storage, &session, &parts).await,
            false => Ok(None),
        };
        match known {
            Ok(known) => self.complete(session, parts, Digests { said, known, wanted }).await,
            Err(error) => self.ended_meanwhile(&session, said, error).await,
        }
    }

    /// Hashing a large file can take longer than the session has left.
    async fn keep_open(
        &self,
        session: &Session,
        may_change: impl Fn(&Session) -> bool + Send + Sync,
    ) -> Result<SessionView> {
        let (now, ttl) = (self.clock.now(), self.limits.session_ttl);
        let is_refused = AtomicBool::new(false);
        let keep_alive = |session: &mut Session, _: &mut _| {
            is_refused.store(!may_change(session), Ordering::Relaxed);
            // A try that fails leaves the session's version as it was, so that the same condition holds for the next one.
            let is_short = session.expires_at - now < ttl * 2 / 3;
            !is_refused.load(Ordering::Relaxed) && is_short && session.keep_alive(now, ttl)
        };
        let (session, file, _) = self.db.change_session(Some(&session.owner), session.id, keep_alive).await?;
        if session.status.is_open() && is_refused.into_inner() {
            return Err(Error::precondition_failed());
        }
        Ok(SessionView { session, file })
    }

    async fn complete(
        self: &Arc<Self>,
        session: Session,
        parts: Vec<PartRecord>,
        mut digests: Digests,
    ) -> Result<SessionView> {
        digests.check_said()?;
        let this = Arc::clone(self);
        super::to_the_end(async move {
            if digests.is_not_as_declared(&session) {
                return this.fail(&session, digests.known).await;
            }
            let location = match this.storage.complete(&session, &parts).await {
                Ok(location) => location,
                Err(storage::Error::Replaced(numbers)) => {
                    return Err(this.to_be_sent_again(&session, parts, &numbers).await?);
                }
                Err(error) => return this.ended_meanwhile(&session, digests.said, error).await,
            };
            if digests.wanted && digests.known.is_none() {
                // An object store's bytes can be read from here on. If they are wrong they stay where they are, and the
                // session as it was; calling again finds both.
                digests.known = match this.prefix_hashes.finish(&*this.storage, &session, &parts).await {
                    Ok(Some(digest)) => Some(digest),
                    Ok(None) => return this.ended_meanwhile(&session, digests.said, lost(&session)).await,
                    Err(error) => return this.ended_meanwhile(&session, digests.said, error).await,
                };
                digests.check_said()?;
                if digests.is_not_as_declared(&session) {
                    return this.fail(&session, digests.known).await;
                }
            }
            let composite = Sha256Digest::composite(parts.iter().map(|part| part.sha256));
            this.record_complete(&session, digests.known, composite, location).await
        })
        .await
    }

    async fn record_complete(
        &self,
        session: &Session,
        actual: Option<Sha256Digest>,
        composite: Sha256Digest,
        location: String,
    ) -> Result<SessionView> {
        let now = self.clock.now();
        let (session, file, is_first) = self
            .db
            .change_session(Some(&session.owner), session.id, |session, file| {
                let is_first = session.close(SessionStatus::Complete, None, now);
                if is_first {
                    file.status = FileStatus::Stored;
                    file.sha256 = actual;
                    file.composite_sha256 = Some(composite);
                    file.location = Some(location.clone());
                    file.updated_at = now;
                }
                is_first
            })
            .await?;
        if session.status != SessionStatus::Complete {
            // Aborted while the file was being completed; its bytes are to go, wherever they are now.
            self.free(&session).await?;
            return Err(Error::session_closed(&session));
        }
        self.prefix_hashes.forget(session.id);
        if is_first {
            self.metrics.count_session(SessionEvent::Finalized);
            tracing::info!(
                session.id = %session.id.0,
                file.id = %file.id.0,
                size_bytes = file.size_bytes,
                sha256 = actual.map(tracing::field::display),
                composite_sha256 = %composite,
                "session finalized"
            );
        }
        Ok(SessionView { session, file })
    }

    async fn fail(&self, session: &Session, actual: Option<Sha256Digest>) -> Result<SessionView> {
        let reason = StatusReason::ChecksumMismatch;
        let (owner, status) = (Some(&session.owner), SessionStatus::Failed);
        let (view, _) = self.end_without_file(owner, session.id, status, reason, actual, |_| true).await?;
        if view.session.status_reason.is_some() {
            self.free(&view.session).await?;
        }
        self.ended(view, None).await
    }

    /// The bytes were not where they should be: because another finalize or an abort was faster, or because they are
    /// really lost.
    async fn ended_meanwhile(
        &self,
        session: &Session,
        said: Option<Sha256Digest>,
        error: storage::Error,
    ) -> Result<SessionView> {
        let now = self.db.session_with_file(&session.owner, session.id).await?;
        let ended = now.filter(|(session, _)| !session.status.is_open());
        let Some((session, file)) = ended else { return Err(self.explain_failure(session, error, |_| true).await?) };
        self.prefix_hashes.forget(session.id);
        self.ended(SessionView { session, file }, said).await
    }

    /// What a finalize of a session that has ended answers: what the one that ended it did.
    async fn ended(&self, view: SessionView, said: Option<Sha256Digest>) -> Result<SessionView> {
        let SessionView { session, file } = &view;
        match (session.status, session.status_reason) {
            (SessionStatus::Complete, _) if said.is_some() && file.sha256.is_none() => {
                self.digest_late(view, said).await
            }
            (SessionStatus::Complete, _) => {
                Digests { said, known: file.sha256, wanted: false }.check_said()?;
                Ok(view)
            }
            (SessionStatus::Failed, Some(StatusReason::ChecksumMismatch)) if let Some(actual) = file.sha256 => {
                Err(Error::checksum_mismatch("file", session.declared_sha256.unwrap_or(actual), actual))
            }
            _ => Err(Error::session_closed(session)),
        }
    }

    /// Computes the SHA-256 of a file that was completed without, now that somebody asks.
    async fn digest_late(&self, view: SessionView, said: Option<Sha256Digest>) -> Result<SessionView> {
        let parts = self.db.all_parts(&view.session).await?;
        let known = self.prefix_hashes.finish(&*self.storage, &view.session, &parts).await?;
        let known = Some(known.ok_or_else(|| lost(&view.session))?);
        self.prefix_hashes.forget(view.session.id);
        let now = self.clock.now();
        let (session, file, _) = self
            .db
            .change_session(Some(&view.session.owner), view.session.id, |session, file| {
                let is_first = file.sha256.is_none();
                if is_first {
                    file.sha256 = known;
                    file.updated_at = now;
                    session.touch(now);
                }
                is_first
            })
            .await?;
        Digests { said, known: file.sha256, wanted: true }.check_said()?;
        Ok(SessionView { session, file })
    }
}

fn check_composite(expected: Option<Sha256Digest>, actual: Sha256Digest) -> Result<()> {
    match expected {
        Some(expected) if expected != actual => Err(Error::composite_mismatch(expected, actual)),
        _ => Ok(()),
    }
}

fn lost(session: &Session) -> storage::Error {
    storage::Error::Lost(format!("session {}: its complete file is not there", session.id.0))
}

/// What is said and what is known of a whole file's SHA-256.
#[derive(Clone, Copy)]
struct Digests {
    /// By the client, at finalize.
    said: Option<Sha256Digest>,
    /// By the bytes, if they have been hashed.
    known: Option<Sha256Digest>,
    /// Whether it is to be known before the session is complete.
    wanted: bool,
}

impl Digests {
    fn check_said(&self) -> Result<()> {
        match (self.said, self.known) {
            (Some(said), Some(actual)) if said != actual => Err(Error::checksum_mismatch("file", said, actual)),
            _ => Ok(()),
        }
    }

    fn is_not_as_declared(&self, session: &Session) -> bool {
        matches!((session.declared_sha256, self.known), (Some(declared), Some(actual)) if declared != actual)
    }
}

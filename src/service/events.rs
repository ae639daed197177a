//! The events of uploads and of webhooks, counted and logged in one place.
//!
//! Owns which metric counts an event, and its line in the log. A use case announces an event after the transaction; it
//! does not count or log the event itself. If only the use case has the cause, it logs the cause separately. Does not
//! own the metrics: those are in `metrics`.

use super::Service;
use crate::{
    db::{Attempt, LeasedDelivery},
    domain::{Part, Session, SessionStatus, StatusReason, Tail, Upload},
    metrics::{PartOutcome, SessionEvent, WebhookOutcome},
};

/// An event of an upload.
#[derive(Clone, Copy, Debug)]
pub(super) enum Event<'a> {
    /// A session was created.
    Created(&'a Upload),
    /// A part became durable. The session after the change.
    PartReceived(&'a Session, Part),
    /// The first bytes of a part became durable. The session after the change.
    TailReceived(&'a Session, &'a Tail),
    /// A client sent a part that was received before, with the same bytes.
    PartReplayed,
    /// The server refused a part.
    PartRefused,
    /// A session ended (complete, failed, aborted or expired), or its file was deleted.
    Ended(&'a Upload),
}

impl Service {
    pub(super) fn announce(&self, event: Event<'_>) {
        if let Event::Ended(_) = event {
            self.deliveries.wake.notify_one();
        }
        match event {
            Event::Created(upload) => self.created(upload),
            Event::PartReceived(session, part) => self.part_received(session, part),
            Event::TailReceived(session, tail) => tracing::debug!(
                session.id = %session.id,
                part.number = tail.part.number,
                contiguous_bytes = session.contiguous_bytes(),
                "tail received"
            ),
            Event::PartReplayed => self.metrics.parts.count(PartOutcome::Replayed),
            Event::PartRefused => self.metrics.parts.count(PartOutcome::Refused),
            Event::Ended(upload) if upload.session.file_deleted => self.file_deleted(upload),
            Event::Ended(upload) if upload.session.status == SessionStatus::Complete => self.completed(upload),
            Event::Ended(Upload { session, .. }) => self.ended_without_file(session),
        }
    }

    /// An attempt to send an event to a webhook. The log has no URL, because it may contain a secret.
    pub(super) fn announce_attempt(&self, lease: &LeasedDelivery, outcome: WebhookOutcome, attempt: &Attempt) {
        self.metrics.webhook_attempts.count(outcome);
        let (webhook, event, attempts) = (lease.webhook, lease.event_id, lease.attempts + 1);
        let Attempt { status, error, .. } = attempt;
        match outcome {
            WebhookOutcome::Delivered => {
                tracing::debug!(webhook.id = %webhook, event.id = %event, attempts, "event delivered to a webhook");
            }
            WebhookOutcome::Failed => tracing::info!(
                webhook.id = %webhook, event.id = %event, attempts, status, error,
                "a webhook did not accept an event; the server sends it again"
            ),
            WebhookOutcome::Dead => tracing::warn!(
                webhook.id = %webhook, event.id = %event, attempts, status, error,
                "a webhook did not accept an event; the server has given up"
            ),
            WebhookOutcome::Gone => tracing::warn!(
                webhook.id = %webhook, event.id = %event,
                "a webhook answered 410 Gone and is disabled; what is pending is dead"
            ),
        }
    }

    fn created(&self, Upload { session, file }: &Upload) {
        self.metrics.sessions.count(SessionEvent::Created);
        tracing::info!(
            session.id = %session.id,
            owner = %session.owner,
            size_bytes = file.size_bytes,
            total_parts = session.plan.total_parts(),
            chunk_size_bytes = session.plan.chunk_size_bytes(),
            "session created"
        );
    }

    fn part_received(&self, session: &Session, part: Part) {
        self.metrics.parts.count(PartOutcome::Received);
        self.metrics.part_bytes.inc_by(part.size_bytes);
        tracing::info!(
            session.id = %session.id,
            part.number = part.number,
            size_bytes = part.size_bytes,
            completed_parts = session.completed_parts(),
            total_parts = session.plan.total_parts(),
            "part received"
        );
    }

    fn completed(&self, Upload { session, file }: &Upload) {
        self.metrics.sessions.count(SessionEvent::Finalized);
        tracing::info!(
            session.id = %session.id,
            file.id = %file.id,
            size_bytes = file.size_bytes,
            sha256 = file.sha256.map(tracing::field::display),
            crc64nvme = file.crc64nvme.map(tracing::field::display),
            composite_sha256 = file.composite_sha256.map(tracing::field::display),
            "session finalized"
        );
    }

    fn file_deleted(&self, Upload { session, file }: &Upload) {
        self.metrics.sessions.count(SessionEvent::FileDeleted);
        tracing::info!(session.id = %session.id, file.id = %file.id, size_bytes = file.size_bytes, "file deleted");
    }

    fn ended_without_file(&self, session: &Session) {
        let (event, message) = match session.status_reason {
            None | Some(StatusReason::AbortedByOwner) => (SessionEvent::Aborted, "session aborted"),
            Some(StatusReason::Expired) => (SessionEvent::Expired, "session expired"),
            Some(StatusReason::ChecksumMismatch) => (SessionEvent::Failed, "session failed: checksum mismatch"),
            Some(StatusReason::BytesLost) => (SessionEvent::Failed, "session failed: bytes of received parts are lost"),
        };
        self.metrics.sessions.count(event);
        let reason = session.status_reason.map(StatusReason::as_str);
        tracing::info!(session.id = %session.id, reason, "{message}");
    }
}

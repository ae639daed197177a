//! Sending events to webhooks.
//!
//! Owns which deliveries this node sends, how many at the same time, and what follows from the result of an attempt.
//! Each webhook has its own task, so an endpoint that hangs delays only itself. Does not own the schedule of attempts:
//! that is `domain/webhook`. Does not own the request: that is `webhooks`.

use std::{collections::HashSet, sync::Arc, time::Duration};

use chrono::TimeDelta;
use parking_lot::Mutex;
use tokio::{
    sync::Notify,
    task::{JoinHandle, JoinSet},
};
use tokio_util::sync::CancellationToken;
use tracing::{Instrument, Span, field::Empty};

use super::Service;
use crate::{
    db::{Attempt, LeasedDelivery},
    domain::{DeliveryState, EventId, Timestamp, Webhook, WebhookId, retry_delay, webhook_body},
    error::{Error, Result},
    metrics::{LeaseKind, WebhookOutcome},
    spans::span,
    webhooks::{InvalidTarget, Message, Outcome, Sender, Target},
};

/// Maximum number of requests to one webhook at the same time.
const AT_ONCE: usize = 8;
/// How long new events to a webhook wait while a request to it hangs and another one could be sent.
const PAUSE: Duration = Duration::from_millis(250);
/// How long a request may still run after the server begins to stop.
const STOP_AFTER: Duration = Duration::from_secs(3);

/// What this node sends to webhooks now.
pub(super) struct Deliveries {
    pub(super) sender: Sender,
    /// The webhooks that have a task.
    running: Arc<Mutex<HashSet<WebhookId>>>,
    /// Tells that there may be new events.
    pub(super) wake: Notify,
    pub(super) stopping: CancellationToken,
}

impl Deliveries {
    pub(super) fn new(sender: Sender) -> Self {
        Self { sender, running: Arc::default(), wake: Notify::new(), stopping: CancellationToken::new() }
    }

    /// Twice as long as an attempt takes, so that its result can be recorded too.
    fn lease(&self) -> TimeDelta {
        TimeDelta::from_std(self.sender.settings().timeout * 2).unwrap_or(TimeDelta::MAX)
    }

    /// The right to send to a webhook, if no other task of this process has it.
    fn start(&self, webhook: WebhookId) -> Option<Running> {
        let is_new = self.running.lock().insert(webhook);
        is_new.then(|| Running { webhook, all: Arc::clone(&self.running) })
    }
}

/// The entry of a webhook's task. Dropping it removes the entry.
struct Running {
    webhook: WebhookId,
    all: Arc<Mutex<HashSet<WebhookId>>>,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.all.lock().remove(&self.webhook);
    }
}

/// A delivery on which this node has a lease, and its webhook.
struct Due {
    webhook: Arc<Webhook>,
    lease: LeasedDelivery,
}

/// The results of attempts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Delivered {
    /// Events that a receiver accepted.
    pub delivered: usize,
    /// Attempts that failed, and after which the event is sent again.
    pub failed: usize,
    /// Attempts that failed, and after which the server gave up.
    pub dead: usize,
    /// Attempts that disabled a webhook.
    pub gone: usize,
}

impl Delivered {
    fn count(&mut self, result: Option<WebhookOutcome>) {
        match result {
            Some(WebhookOutcome::Delivered) => self.delivered += 1,
            Some(WebhookOutcome::Failed) => self.failed += 1,
            Some(WebhookOutcome::Dead) => self.dead += 1,
            Some(WebhookOutcome::Gone) => self.gone += 1,
            None => {}
        }
    }

    fn add(&mut self, other: Self) {
        self.delivered += other.delivered;
        self.failed += other.failed;
        self.dead += other.dead;
        self.gone += other.gone;
    }
}

impl Service {
    /// Sends everything that is due, once, and waits for the results. Errors are logged; the next call tries again.
    pub async fn deliver_due(self: &Arc<Self>) -> Delivered {
        let mut total = Delivered::default();
        for task in self.start_deliveries().await.inspect_err(Error::log).unwrap_or_default() {
            total.add(task.await.unwrap_or_default());
        }
        total
    }

    /// Begins to send what is due, and returns at once. A webhook to which this process is already sending gets no second
    /// task.
    pub async fn start_deliveries(self: &Arc<Self>) -> Result<Vec<JoinHandle<Delivered>>> {
        let now = self.clock.now();
        self.db.number_events(now).await?;
        let mut started = Vec::new();
        for webhook in self.db.enabled_webhooks().await? {
            if self.db.has_due_delivery(webhook, now).await?
                && let Some(running) = self.deliveries.start(webhook)
            {
                let service = Arc::clone(self);
                started.push(self.detached.spawn(async move {
                    let delivered = service.deliver_to(running.webhook).await;
                    drop(running);
                    delivered
                }));
            }
        }
        Ok(started)
    }

    /// Waits until there may be new events, but not longer than this.
    pub async fn events_or_timeout(&self, longest: Duration) {
        let _ = tokio::time::timeout(longest, self.deliveries.wake.notified()).await;
    }

    /// Sends what is due to one webhook, until nothing is due.
    async fn deliver_to(self: &Arc<Self>, webhook: WebhookId) -> Delivered {
        let mut results = Delivered::default();
        // Tasks, not futures in one task: a future that holds a connection to the database must not wait for this loop.
        let mut sending = JoinSet::new();
        loop {
            let free = AT_ONCE - sending.len();
            for due in self.lease_due(webhook, free).await.inspect_err(Error::log).unwrap_or_default() {
                let service = Arc::clone(self);
                let span = span!(
                    root "deliver webhook",
                    webhook.id = %due.lease.webhook,
                    event.id = %due.lease.event_id,
                    otel.kind = "client",
                    otel.status_code = Empty,
                    http.response.status_code = Empty,
                );
                sending.spawn(async move { service.deliver(due).await }.instrument(span));
            }
            // Looks again while a request hangs: new events must not wait for it.
            match tokio::time::timeout(PAUSE, sending.join_next()).await {
                Ok(Some(result)) => results.count(result.ok().flatten()),
                Ok(None) => return results,
                Err(_) => {}
            }
        }
    }

    /// Takes leases on at most `limit` deliveries. None if the server stops, or the webhook is disabled or removed.
    async fn lease_due(&self, id: WebhookId, limit: usize) -> Result<Vec<Due>> {
        if limit == 0 || self.deliveries.stopping.is_cancelled() {
            return Ok(Vec::new());
        }
        // Read each time: the webhook may have another secret by now.
        let webhook = self.db.webhook(id).await?.filter(|webhook| webhook.disabled_at.is_none());
        let Some(webhook) = webhook.map(Arc::new) else { return Ok(Vec::new()) };
        let now = self.clock.now();
        let until = now + self.deliveries.lease();
        let leased = self.db.lease_deliveries(id, now, until, limit as u64).await?;
        Ok(leased.into_iter().map(|lease| Due { webhook: Arc::clone(&webhook), lease }).collect())
    }

    /// Sends one event once, and records the result. `None` if there is no recorded result: the event is sent again.
    async fn deliver(&self, Due { webhook, lease }: Due) -> Option<WebhookOutcome> {
        let _held = self.metrics.leases.hold(LeaseKind::Delivery);
        let stopped = async {
            self.deliveries.stopping.cancelled().await;
            tokio::time::sleep(STOP_AFTER).await;
        };
        let outcome = tokio::select! {
            outcome = self.send(&webhook, &lease) => outcome,
            () = stopped => {
                let _ = self.db.release_delivery(&lease).await;
                return None;
            }
        };
        let now = self.clock.now();
        let (result, attempt) = result_of(&lease, outcome, now);
        describe(&Span::current(), result, &attempt);
        let recorded = match result {
            WebhookOutcome::Gone => self.db.record_gone(&lease, &attempt, now).await,
            _ => self.db.record_attempt(&lease, &attempt, now).await,
        };
        recorded.map_err(Error::from).inspect_err(Error::log).ok()?;
        self.announce_attempt(&lease, result, &attempt);
        if result == WebhookOutcome::Gone {
            // The sweep does what is left after an error.
            let _ = self.db.bury_deliveries(now).await.map_err(Error::from).inspect_err(Error::log);
        }
        Some(result)
    }

    async fn send(&self, webhook: &Webhook, lease: &LeasedDelivery) -> Outcome {
        let failed = |error: String| Outcome::Failed { status: None, error, retry_after: None };
        let Some(event) = &lease.event else { return failed("the row of the event is invalid".to_owned()) };
        let body = webhook_body(event.event_type.as_str(), event.created_at, &event.data);
        self.send_to(webhook, lease.event_id, &body).await.unwrap_or_else(|error| failed(error.to_string()))
    }

    /// Sends a message to a webhook.
    ///
    /// # Errors
    /// The settings do not allow the URL.
    pub(super) async fn send_to(&self, webhook: &Webhook, id: EventId, body: &str) -> Result<Outcome, InvalidTarget> {
        let sender = &self.deliveries.sender;
        let target = Target::parse(&webhook.url, sender.settings())?;
        let now = self.clock.now();
        let message = Message { id: &id.to_string(), body, sent_at: now };
        Ok(sender.send(&target, &webhook.secrets(now), message).await)
    }
}

/// Puts the result of an attempt into its span.
fn describe(span: &Span, result: WebhookOutcome, attempt: &Attempt) {
    span.record("http.response.status_code", attempt.status);
    if result != WebhookOutcome::Delivered {
        span.record("otel.status_code", "ERROR");
    }
}

/// What follows from an attempt.
fn result_of(lease: &LeasedDelivery, outcome: Outcome, now: Timestamp) -> (WebhookOutcome, Attempt) {
    let done = |state, status, error| Attempt { state, next_attempt_at: None, status, error };
    match outcome {
        Outcome::Delivered(status) => (WebhookOutcome::Delivered, done(DeliveryState::Delivered, Some(status), None)),
        Outcome::Gone => {
            let error = "the receiver wants no more events".to_owned();
            (WebhookOutcome::Gone, done(DeliveryState::Dead, Some(410), Some(error)))
        }
        Outcome::Failed { status, error, retry_after } => {
            match retry_delay(lease.event_id, lease.attempts + 1, retry_after) {
                Some(delay) => {
                    let retry = done(DeliveryState::Pending, status, Some(error));
                    (WebhookOutcome::Failed, Attempt { next_attempt_at: Some(now + delay), ..retry })
                }
                None => (WebhookOutcome::Dead, done(DeliveryState::Dead, status, Some(error))),
            }
        }
    }
}

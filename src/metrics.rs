//! Metrics for operators.
//!
//! Owns the counters, their names and their text format. Does not decide when to count: `service/events.rs` counts and
//! logs the events of uploads, `http` counts requests and refused connections, and `db` counts its statements. A new
//! metric needs a field and a registration here, and a line in `docs/operations.md`.

use prometheus_client::{
    encoding::{EncodeLabelSet, EncodeLabelValue, text::encode},
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::{Registry, Unit},
};

/// Counters of one server, in the [Prometheus text
/// format](https://prometheus.io/docs/instrumenting/exposition_formats/).
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    /// Events of sessions.
    pub sessions: Family<SessionLabels, Counter>,
    /// Parts by outcome.
    pub parts: Family<PartLabels, Counter>,
    /// Bytes of received parts, without replays.
    pub part_bytes: Counter,
    /// Connections that the server refused because there were too many.
    pub connections_refused: Counter,
    /// Attempts to send an event to a webhook, by outcome.
    pub webhook_attempts: Family<WebhookLabels, Counter>,
    /// Events that webhooks must still get.
    pub webhook_pending: Gauge,
    /// How long the oldest of them waits, in seconds.
    pub webhook_oldest_pending: Gauge,
    /// Events that the server has no longer tries to send.
    pub webhook_dead: Gauge,
    /// Durations of requests, by method, route and status.
    pub requests: Family<RequestLabels, Histogram>,
    /// Statements sent to the database.
    pub db_statements: Counter,
}

/// Labels of [`Metrics::sessions`].
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct SessionLabels {
    /// The event.
    pub event: SessionEvent,
}

/// An event of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
pub enum SessionEvent {
    Created,
    Finalized,
    Failed,
    Aborted,
    Expired,
    FileDeleted,
}

impl SessionEvent {
    const ALL: [Self; 6] =
        [Self::Created, Self::Finalized, Self::Failed, Self::Aborted, Self::Expired, Self::FileDeleted];
}

/// Labels of [`Metrics::parts`].
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct PartLabels {
    /// The outcome.
    pub outcome: PartOutcome,
}

/// The outcome of a request that sends a part.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
pub enum PartOutcome {
    Received,
    Replayed,
    Refused,
}

impl PartOutcome {
    const ALL: [Self; 3] = [Self::Received, Self::Replayed, Self::Refused];
}

/// Labels of [`Metrics::webhook_attempts`].
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct WebhookLabels {
    /// The outcome.
    pub outcome: WebhookOutcome,
}

/// The outcome of an attempt to send an event to a webhook.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
pub enum WebhookOutcome {
    Delivered,
    Failed,
    Dead,
    Gone,
}

impl WebhookOutcome {
    const ALL: [Self; 4] = [Self::Delivered, Self::Failed, Self::Dead, Self::Gone];
}

/// Labels of [`Metrics::requests`].
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct RequestLabels {
    /// HTTP method.
    pub method: String,
    /// Route template. Not the path, which contains ids.
    pub route: String,
    /// HTTP status.
    pub status: u16,
}

impl Metrics {
    /// Creates counters that begin at zero, so that a rate over them sees the first event too. Only the counters of requests
    /// appear with their first request. `db_statements` is the database's own counter.
    pub fn new(db_statements: Counter) -> Self {
        let mut registry = Registry::with_prefix("partway");
        let sessions = Family::<SessionLabels, Counter>::default();
        for event in SessionEvent::ALL {
            drop(sessions.get_or_create(&SessionLabels { event }));
        }
        registry.register("sessions", "Sessions by event", sessions.clone());
        let parts = Family::<PartLabels, Counter>::default();
        for outcome in PartOutcome::ALL {
            drop(parts.get_or_create(&PartLabels { outcome }));
        }
        registry.register("parts", "Parts by outcome", parts.clone());
        let part_bytes = Counter::default();
        registry.register_with_unit("parts_received", "Bytes received in parts", Unit::Bytes, part_bytes.clone());
        let connections_refused = Counter::default();
        registry.register("connections_refused", "Refused connections", connections_refused.clone());
        let webhook_attempts = Family::<WebhookLabels, Counter>::default();
        for outcome in WebhookOutcome::ALL {
            drop(webhook_attempts.get_or_create(&WebhookLabels { outcome }));
        }
        registry.register("webhook_attempts", "Attempts to send an event to a webhook", webhook_attempts.clone());
        let webhook_pending = Gauge::default();
        registry.register("webhook_deliveries_pending", "Events that webhooks must still get", webhook_pending.clone());
        let webhook_oldest_pending = Gauge::default();
        let (name, help) = ("webhook_oldest_pending", "How long the oldest of them waits");
        registry.register_with_unit(name, help, Unit::Seconds, webhook_oldest_pending.clone());
        let webhook_dead = Gauge::default();
        registry.register("webhook_deliveries_dead", "Events given up to send to a webhook", webhook_dead.clone());
        let requests = Family::<RequestLabels, Histogram>::new_with_constructor(|| {
            Histogram::new([0.001, 0.005, 0.025, 0.1, 0.5, 2.5, 10.0, 60.0])
        });
        registry.register_with_unit("request_duration", "Time to answer", Unit::Seconds, requests.clone());
        registry.register("db_statements", "Database statements", db_statements.clone());
        Self {
            registry,
            sessions,
            parts,
            part_bytes,
            connections_refused,
            webhook_attempts,
            webhook_pending,
            webhook_oldest_pending,
            webhook_dead,
            requests,
            db_statements,
        }
    }

    /// Counts an event of a session.
    pub fn count_session(&self, event: SessionEvent) {
        self.sessions.get_or_create(&SessionLabels { event }).inc();
    }

    /// Counts a part.
    pub fn count_part(&self, outcome: PartOutcome) {
        self.parts.get_or_create(&PartLabels { outcome }).inc();
    }

    /// Counts an attempt to send an event to a webhook.
    pub fn count_webhook_attempt(&self, outcome: WebhookOutcome) {
        self.webhook_attempts.get_or_create(&WebhookLabels { outcome }).inc();
    }

    /// All counters as text.
    pub fn render(&self) -> String {
        let mut text = String::new();
        encode(&mut text, &self.registry).expect("writing to a String cannot fail");
        text
    }
}

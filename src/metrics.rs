//! Metrics: what an operator can count.
//!
//! Owns the counters, their names and their text format. The code where something happens decides when to count it.

use prometheus_client::{
    encoding::{EncodeLabelSet, EncodeLabelValue, text::encode},
    metrics::{counter::Counter, family::Family, histogram::Histogram},
    registry::{Registry, Unit},
};

/// Counters of one server, in the [Prometheus text format](https://prometheus.io/docs/instrumenting/exposition_formats/).
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    /// Sessions by what happened to them.
    pub sessions: Family<SessionLabels, Counter>,
    /// Parts by what became of them.
    pub parts: Family<PartLabels, Counter>,
    /// Bytes of parts that were acknowledged for the first time.
    pub part_bytes: Counter,
    /// Connections for which there was no place.
    pub connections_refused: Counter,
    /// Requests by route and status, and how long they took.
    pub requests: Family<RequestLabels, Histogram>,
    /// Statements sent to the database.
    pub db_statements: Counter,
}

/// Labels of [`Metrics::sessions`].
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct SessionLabels {
    /// What happened.
    pub event: SessionEvent,
}

/// What can happen to a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
#[expect(missing_docs, reason = "the names say it")]
pub enum SessionEvent {
    Created,
    Finalized,
    Failed,
    Aborted,
    Expired,
}

/// Labels of [`Metrics::parts`].
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct PartLabels {
    /// What became of it.
    pub outcome: PartOutcome,
}

/// What can become of a part.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
#[expect(missing_docs, reason = "the names say it")]
pub enum PartOutcome {
    Received,
    Replayed,
    Refused,
}

/// Labels of [`Metrics::requests`].
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct RequestLabels {
    /// HTTP method.
    pub method: String,
    /// Route template; never the path, which has ids in it.
    pub route: String,
    /// HTTP status.
    pub status: u16,
}

impl Metrics {
    /// All at zero, except that the database counts its own statements.
    pub fn new(db_statements: Counter) -> Self {
        let mut registry = Registry::with_prefix("partway");
        let sessions = Family::default();
        registry.register("sessions", "Sessions by event", sessions.clone());
        let parts = Family::default();
        registry.register("parts", "Parts by outcome", parts.clone());
        let part_bytes = Counter::default();
        registry.register_with_unit("parts_received", "Bytes received in parts", Unit::Bytes, part_bytes.clone());
        let connections_refused = Counter::default();
        registry.register("connections_refused", "Connections without a place", connections_refused.clone());
        let requests = Family::<RequestLabels, Histogram>::new_with_constructor(|| {
            Histogram::new([0.001, 0.005, 0.025, 0.1, 0.5, 2.5, 10.0, 60.0])
        });
        registry.register_with_unit("request_duration", "Time to answer", Unit::Seconds, requests.clone());
        registry.register("db_statements", "Database statements", db_statements.clone());
        Self { registry, sessions, parts, part_bytes, connections_refused, requests, db_statements }
    }

    /// Counts something that happened to a session.
    pub fn count_session(&self, event: SessionEvent) {
        self.sessions.get_or_create(&SessionLabels { event }).inc();
    }

    /// Counts a part.
    pub fn count_part(&self, outcome: PartOutcome) {
        self.parts.get_or_create(&PartLabels { outcome }).inc();
    }

    /// All counters as text.
    pub fn render(&self) -> String {
        let mut text = String::new();
        encode(&mut text, &self.registry).expect("writing to a String cannot fail");
        text
    }
}

//! Metrics for operators.
//!
//! Owns the metrics, their names and their text format. Does not decide when to count: `service/events.rs` counts and
//! logs the events of uploads, `service/gauges.rs` sets what is read from other modules, `http` counts requests and connections, and
//! `db` counts its statements. A new metric needs a field and a registration here, and a line in `docs/operations.md`.

mod labels;

use std::sync::LazyLock;

use prometheus_client::{
    encoding::text::encode,
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::{Registry, Unit},
};

pub(crate) use self::labels::{
    By, ConnectionLabels, Held, Label, LeaseKind, PartOutcome, Place, Pool, PoolState, Queue, RequestLabels,
    SessionEvent, SpanOutcome, StateSource, SweepOutcome, SweepResult, WebhookOutcome,
};

/// The spans of this process by outcome. Not one of [`Metrics`]: a process has one log and one export of spans.
pub(crate) static SPANS: LazyLock<By<SpanOutcome, Counter>> = LazyLock::new(By::default);

/// What the database counts itself.
#[derive(Clone, Debug)]
pub struct DbMetrics {
    /// Statements sent to the database.
    pub statements: Counter,
    /// How long writes have waited for their turn.
    pub write_wait: Histogram,
    /// States of sessions that were read from memory.
    pub states_from_memory: Counter,
    /// States of sessions that were read from the database.
    pub states_from_database: Counter,
    state_reads: By<StateSource, Counter>,
}

impl Default for DbMetrics {
    fn default() -> Self {
        let write_wait = Histogram::new([0.001, 0.005, 0.025, 0.1, 0.5, 2.5, 5.0]);
        let state_reads = By::<StateSource, Counter>::default();
        // Read in the path of every status, which needs no look-up of a label.
        let (states_from_memory, states_from_database) =
            (state_reads.of(StateSource::Memory).clone(), state_reads.of(StateSource::Database).clone());
        Self { statements: Counter::default(), write_wait, states_from_memory, states_from_database, state_reads }
    }
}

/// Metrics of one server, in the [Prometheus text
/// format](https://prometheus.io/docs/instrumenting/exposition_formats/).
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    /// Events of sessions.
    pub sessions: By<SessionEvent, Counter>,
    /// Parts by outcome.
    pub parts: By<PartOutcome, Counter>,
    /// Bytes of received parts, without replays.
    pub part_bytes: Counter,
    /// Open connections of clients.
    pub connections: Gauge,
    /// Connections that the server refused because there were too many.
    pub connections_refused: Counter,
    /// Open streams of states and events.
    pub streams: Gauge,
    /// Attempts to send an event to a webhook, by outcome.
    pub webhook_attempts: By<WebhookOutcome, Counter>,
    /// Events that webhooks must still get.
    pub webhook_pending: Gauge,
    /// How long the oldest of them waits, in seconds.
    pub webhook_oldest_pending: Gauge,
    /// Events that the server has no longer tries to send.
    pub webhook_dead: Gauge,
    /// Events that have no position yet.
    pub events_waiting: Gauge,
    /// How long the oldest of them waits, in seconds.
    pub events_oldest_waiting: Gauge,
    /// Durations of requests, by method, route and status.
    pub requests: Family<RequestLabels, Histogram>,
    /// Requests that wait, by what for.
    pub queues: By<Queue, Gauge>,
    /// Leases that this node has.
    pub leases: By<LeaseKind, Gauge>,
    /// Sweeps of this node.
    pub sweeps: By<SweepOutcome, Counter>,
    /// How long they took.
    pub sweep_duration: Histogram,
    /// When the last one ended that was complete, in seconds since 1970; 0 if there was none.
    pub last_complete_sweep: Gauge,
    /// What they have done.
    pub swept: By<SweepResult, Counter>,
    /// Free bytes of the file systems that must keep free space.
    pub free_bytes: Family<[(&'static str, Place); 1], Gauge>,
    /// Bytes that must stay free on each.
    pub min_free_bytes: Gauge,
    /// Connections to the database.
    pub db_connections: Family<ConnectionLabels, Gauge>,
    /// The largest number of connections of each pool.
    pub db_connections_max: By<Pool, Gauge>,
    /// States of sessions in memory.
    pub states_in_memory: Gauge,
    /// Their memory, in bytes.
    pub states_in_memory_bytes: Gauge,
    /// What the database counts itself.
    pub db: DbMetrics,
}

impl Metrics {
    /// Creates metrics that begin at zero. Only those of requests appear with their first request, and those of free space if there is
    /// a file system to watch.
    pub fn new(db: DbMetrics) -> Self {
        let sweep_duration = Histogram::new([0.01, 0.1, 1.0, 10.0, 60.0, 600.0]);
        let mut metrics = Self {
            registry: Registry::with_prefix("partway"),
            sessions: By::default(),
            parts: By::default(),
            part_bytes: Counter::default(),
            connections: Gauge::default(),
            connections_refused: Counter::default(),
            streams: Gauge::default(),
            webhook_attempts: By::default(),
            webhook_pending: Gauge::default(),
            webhook_oldest_pending: Gauge::default(),
            webhook_dead: Gauge::default(),
            events_waiting: Gauge::default(),
            events_oldest_waiting: Gauge::default(),
            requests: Family::new_with_constructor(|| Histogram::new([0.001, 0.005, 0.025, 0.1, 0.5, 2.5, 10.0, 60.0])),
            queues: By::default(),
            leases: By::default(),
            sweeps: By::default(),
            sweep_duration,
            last_complete_sweep: Gauge::default(),
            swept: By::default(),
            free_bytes: Family::default(),
            min_free_bytes: Gauge::default(),
            db_connections: Family::default(),
            db_connections_max: By::default(),
            states_in_memory: Gauge::default(),
            states_in_memory_bytes: Gauge::default(),
            db,
        };
        metrics.register_uploads();
        metrics.register_server();
        metrics.register_database();
        metrics
    }

    fn register_uploads(&mut self) {
        let all = &mut self.registry;
        all.register("sessions", "Sessions by event", self.sessions.0.clone());
        all.register("parts", "Parts by outcome", self.parts.0.clone());
        all.register_with_unit("parts_received", "Bytes received in parts", Unit::Bytes, self.part_bytes.clone());
        all.register("queue_length", "Requests that wait", self.queues.0.clone());
        all.register("leases", "Leases of this node", self.leases.0.clone());
        all.register("events_waiting", "Events without a position", self.events_waiting.clone());
        let (name, help) = ("events_oldest_waiting", "How long the oldest of them waits");
        all.register_with_unit(name, help, Unit::Seconds, self.events_oldest_waiting.clone());
        all.register("webhook_attempts", "Attempts to send an event to a webhook", self.webhook_attempts.0.clone());
        all.register("webhook_deliveries_pending", "Events that webhooks must still get", self.webhook_pending.clone());
        let (name, help) = ("webhook_oldest_pending", "How long the oldest of them waits");
        all.register_with_unit(name, help, Unit::Seconds, self.webhook_oldest_pending.clone());
        all.register("webhook_deliveries_dead", "Events given up to send to a webhook", self.webhook_dead.clone());
    }

    fn register_server(&mut self) {
        let all = &mut self.registry;
        all.register_with_unit("request_duration", "Time to answer", Unit::Seconds, self.requests.clone());
        all.register("connections", "Open connections", self.connections.clone());
        all.register("connections_refused", "Refused connections", self.connections_refused.clone());
        all.register("streams", "Open streams of states and events", self.streams.clone());
        all.register("sweeps", "Sweeps by outcome", self.sweeps.0.clone());
        all.register_with_unit("sweep_duration", "Time of a sweep", Unit::Seconds, self.sweep_duration.clone());
        let (name, help) = ("sweep_last_complete_timestamp", "The end of the last complete sweep");
        all.register_with_unit(name, help, Unit::Seconds, self.last_complete_sweep.clone());
        all.register("swept", "What sweeps have done", self.swept.0.clone());
        all.register_with_unit("free", "Free space", Unit::Bytes, self.free_bytes.clone());
        all.register_with_unit("min_free", "Space that must stay free", Unit::Bytes, self.min_free_bytes.clone());
        all.register("spans", "Spans by outcome", SPANS.0.clone());
    }

    fn register_database(&mut self) {
        let (all, db) = (&mut self.registry, &self.db);
        all.register("db_statements", "Database statements", db.statements.clone());
        all.register("db_connections", "Connections to the database", self.db_connections.clone());
        all.register("db_connections_max", "The largest number of them", self.db_connections_max.0.clone());
        let (name, help) = ("db_write_wait", "Time that a write waits for its turn");
        all.register_with_unit(name, help, Unit::Seconds, db.write_wait.clone());
        all.register("state_reads", "States of sessions that were read", db.state_reads.0.clone());
        all.register("states_in_memory", "States of sessions in memory", self.states_in_memory.clone());
        let (name, help) = ("states_in_memory", "Their memory");
        all.register_with_unit(name, help, Unit::Bytes, self.states_in_memory_bytes.clone());
    }

    /// All metrics as text.
    pub fn render(&self) -> String {
        let mut text = String::new();
        encode(&mut text, &self.registry).expect("writing to a String cannot fail");
        text
    }
}

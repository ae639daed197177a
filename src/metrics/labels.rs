//! The labels of metrics.
//!
//! Owns the names and the values of labels, and the metric that has one of them.

use std::{hash::Hash, ops::Deref};

use prometheus_client::{
    encoding::{EncodeLabelSet, EncodeLabelValue},
    metrics::{counter::Counter, family::Family, gauge::Gauge},
};

/// The values of one label.
pub trait Label: Copy + Eq + Hash + Send + Sync + EncodeLabelValue + 'static {
    /// The label's name.
    const NAME: &'static str;
    /// All values.
    const ALL: &'static [Self];
}

/// A metric with one label. It has a series for each value from the start, so that a rate over it sees the first event too.
#[derive(Clone, Debug)]
pub struct By<L: Label, M>(pub(super) Family<[(&'static str, L); 1], M>);

impl<L: Label, M: Default> Default for By<L, M> {
    fn default() -> Self {
        let all = Self(Family::default());
        for value in L::ALL {
            drop(all.of(*value));
        }
        all
    }
}

impl<L: Label, M: Default> By<L, M> {
    /// The series with this value. Keep it only for a moment: it holds a lock.
    pub fn of(&self, value: L) -> impl Deref<Target = M> {
        self.0.get_or_create(&[(L::NAME, value)])
    }
}

impl<L: Label> By<L, Counter> {
    /// Counts one more.
    pub fn count(&self, value: L) {
        self.of(value).inc();
    }
}

impl<L: Label> By<L, Gauge> {
    /// Counts one more, until the returned value is dropped.
    #[must_use]
    pub fn hold(&self, value: L) -> Held {
        Held::new(&self.of(value))
    }
}

/// One that a gauge counts, until it is dropped.
#[derive(Debug)]
pub struct Held(Gauge);

impl Held {
    /// Counts one more.
    pub fn new(gauge: &Gauge) -> Self {
        gauge.inc();
        Self(gauge.clone())
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// Defines a label: its name, and its values.
macro_rules! label {
    ($(#[$meta:meta])* $name:literal: $vis:vis $type:ident { $($(#[$value_meta:meta])* $value:ident),+ $(,)? }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
        $vis enum $type { $($(#[$value_meta])* $value),+ }

        impl $type {
            const ALL: &[Self] = &[$(Self::$value),+];
        }

        impl Label for $type {
            const NAME: &'static str = $name;
            const ALL: &'static [Self] = Self::ALL;
        }
    };
}

label! {
    /// An event of a session.
    "event": pub SessionEvent { Created, Finalized, Failed, Aborted, Expired, FileDeleted }
}

label! {
    /// The outcome of a request that sends a part.
    "outcome": pub PartOutcome { Received, Replayed, Refused }
}

label! {
    /// The outcome of an attempt to send an event to a webhook.
    "outcome": pub WebhookOutcome { Delivered, Failed, Dead, Gone }
}

label! {
    /// What has become of a span that has ended.
    "outcome": pub(crate) SpanOutcome {
        /// The collector has accepted it.
        Exported,
        /// The collector did not answer, or refused it.
        Failed,
        /// The queue before the export was full.
        Dropped,
    }
}

label! {
    /// Where requests wait.
    "queue": pub Queue {
        /// Parts and small files whose bytes have arrived, until they are durable.
        Persist,
        /// Parts and small files with durable bytes, until they are recorded.
        Record,
        /// Writes, until it is their turn to use a connection.
        Write,
        /// Reads of one session, until there is a connection.
        Lookup,
    }
}

label! {
    /// A pool of connections to the database.
    "pool": pub Pool {
        /// For writes.
        Write,
        /// For reads.
        Read,
        /// For reads of one session.
        Lookup,
    }
}

label! {
    /// Whether a connection is in use.
    "state": pub PoolState { Busy, Idle }
}

label! {
    /// What a lease is on.
    "kind": pub LeaseKind {
        /// A part that this node puts into an object store.
        Part,
        /// The bytes that this node frees.
        Freeing,
        /// A delivery that this node sends.
        Delivery,
    }
}

label! {
    /// Whether all steps of a sweep succeeded.
    "outcome": pub SweepOutcome { Complete, Incomplete }
}

label! {
    /// What a sweep has done.
    "result": pub SweepResult {
        Finalized,
        Expired,
        Deleted,
        Freed,
        Lost,
        Leftover,
        PartsRemoved,
        /// A session or a file for which something of this failed.
        Failed,
    }
}

label! {
    /// A file system that must keep free space.
    "place": pub Place { Storage, Database }
}

label! {
    /// Where the state of a session was read.
    "source": pub(crate) StateSource { Memory, Database }
}

/// Labels of the durations of requests.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct RequestLabels {
    /// HTTP method.
    pub method: String,
    /// Route template. Not the path, which contains ids.
    pub route: String,
    /// HTTP status.
    pub status: u16,
}

/// Labels of connections to the database.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ConnectionLabels {
    /// The pool.
    pub pool: Pool,
    /// Whether they are in use.
    pub state: PoolState,
}

//! Metrics that are read where they are, not counted.
//!
//! Owns when they are read: what is in memory, at each scrape; what needs a statement or the file system, from time to time. Does not
//! own the metrics: those are in `metrics`.

use super::Service;
use crate::{
    db::PoolStatus,
    error::Result,
    metrics::{ConnectionLabels, Label, Place, Pool, PoolState, Queue},
};

impl Service {
    /// All metrics in the Prometheus text format. Reads only memory.
    pub fn metrics_text(&self) -> String {
        let (db, metrics) = (self.db.status(), &self.metrics);
        for (pool, status) in [(Pool::Write, db.write), (Pool::Read, db.read), (Pool::Lookup, db.lookup)] {
            self.set_pool(pool, status);
        }
        metrics.queues.of(Queue::Write).set(gauge(db.waiting_writes as u64));
        metrics.queues.of(Queue::Lookup).set(gauge(db.waiting_lookups as u64));
        metrics.states_in_memory.set(gauge(db.states as u64));
        metrics.states_in_memory_bytes.set(gauge(db.state_bytes as u64));
        metrics.streams.set(gauge(self.streams.total()));
        metrics.render()
    }

    fn set_pool(&self, pool: Pool, PoolStatus { busy, idle, max }: PoolStatus) {
        for (state, number) in [(PoolState::Busy, busy), (PoolState::Idle, idle)] {
            self.metrics.db_connections.get_or_create(&ConnectionLabels { pool, state }).set(gauge(number as u64));
        }
        self.metrics.db_connections_max.of(pool).set(gauge(max as u64));
    }

    /// Reads the free space, and the events that wait for a position.
    ///
    /// # Errors
    /// `UNAVAILABLE` if the database is. The free space is then read nevertheless.
    pub async fn refresh_metrics(&self) -> Result<()> {
        self.metrics.min_free_bytes.set(gauge(self.room.min_free_bytes));
        for (place, bytes) in self.free_bytes().await {
            self.metrics.free_bytes.get_or_create(&[(Place::NAME, place)]).set(gauge(bytes));
        }
        let backlog = self.db.event_backlog().await?;
        self.metrics.events_waiting.set(gauge(backlog.count));
        let age = backlog.oldest.map_or(0, |since| (self.clock.now() - since).num_seconds());
        self.metrics.events_oldest_waiting.set(age.max(0));
        Ok(())
    }
}

fn gauge(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

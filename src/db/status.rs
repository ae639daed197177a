//! How busy the database is, for metrics.
//!
//! Owns what is read from the pools, the turns and the states in memory: numbers that are there anyway. Owns the statement for the
//! events that wait for a position. Does not own metrics: those are in `metrics`.

use entity::event;
use sea_orm::{DatabaseConnection, DbBackend, Order, QuerySelect, sqlx};

use super::{Db, Result, error::retry_transient, events::waiting};
use crate::domain::Timestamp;

/// The largest number of waiting events that are counted, so that the count costs the same for any number of them.
const MAX_COUNTED: u64 = 10_000;

/// How busy a pool is.
#[derive(Clone, Copy, Debug)]
pub struct PoolStatus {
    /// Connections in use.
    pub busy: usize,
    /// Connections that nobody uses.
    pub idle: usize,
    /// The largest number of connections.
    pub max: usize,
}

/// How busy the database is on this node.
#[derive(Clone, Copy, Debug)]
pub struct DbStatus {
    /// The pool for writes.
    pub write: PoolStatus,
    /// The pool for reads.
    pub read: PoolStatus,
    /// The pool for reads of one session.
    pub lookup: PoolStatus,
    /// Writes that wait for their turn.
    pub waiting_writes: usize,
    /// Reads of one session that wait for a connection.
    pub waiting_lookups: usize,
    /// States of sessions in memory.
    pub states: usize,
    /// The memory of these states, in bytes.
    pub state_bytes: usize,
}

/// The events that have no position yet, of all nodes.
#[derive(Clone, Copy, Debug)]
pub struct EventBacklog {
    /// Their number, at most 10,000.
    pub count: u64,
    /// When the oldest of them happened.
    pub oldest: Option<Timestamp>,
}

impl Db {
    /// How busy the database is now. Needs no statement.
    pub fn status(&self) -> DbStatus {
        let pools = self.pools.current();
        let (lookup, waiting_lookups) = pools.lookups.status();
        let (states, state_bytes) = self.snapshots.size();
        let (writes, waiting_writes) = self.write.writes();
        // By the turns: on SQLite, some writes use another connection than that of the pool.
        let PoolStatus { busy, idle, max } = status_of(&pools.write);
        let in_use = writes as usize;
        let write = PoolStatus { busy: in_use, idle: (busy + idle).saturating_sub(in_use), max };
        DbStatus { write, read: status_of(&pools.read), lookup, waiting_writes, waiting_lookups, states, state_bytes }
    }

    /// The events that have no position yet.
    pub async fn event_backlog(&self) -> Result<EventBacklog> {
        let first = waiting(Order::Asc).limit(1).select_only().column(event::Column::CreatedAt);
        let oldest: Option<Timestamp> =
            retry_transient(|| first.clone().into_tuple().all(&self.read)).await?.into_iter().next();
        if oldest.is_none() {
            return Ok(EventBacklog { count: 0, oldest });
        }
        let counted = waiting(Order::Asc).limit(MAX_COUNTED).select_only().column(event::Column::Seq);
        let counted: Vec<i64> = retry_transient(|| counted.clone().into_tuple().all(&self.read)).await?;
        Ok(EventBacklog { count: counted.len() as u64, oldest })
    }
}

fn status_of(connection: &DatabaseConnection) -> PoolStatus {
    let (size, idle, max) = match connection.get_database_backend() {
        DbBackend::Postgres => sizes(connection.get_postgres_connection_pool()),
        _ => sizes(connection.get_sqlite_connection_pool()),
    };
    PoolStatus { busy: size.saturating_sub(idle), idle, max }
}

fn sizes<D: sqlx::Database>(pool: &sqlx::Pool<D>) -> (usize, usize, usize) {
    (pool.size() as usize, pool.num_idle(), pool.options().get_max_connections() as usize)
}

//! The pools of connections.
//!
//! Owns which statement uses which pool, and the replacement of pools when PostgreSQL does not answer. Reads have their
//! own connections, so a status read never waits for a writer that waits for a row lock. Does not own the order of
//! writers: that is `turns`.

use std::sync::Arc;

use parking_lot::RwLock;
use sea_orm::{
    ConnectionTrait, DatabaseConnection, DbBackend, DbErr, ExecResult, QueryResult, SqliteTransactionMode, Statement,
    TransactionOptions, sqlx::postgres::PgConnectOptions,
};

use super::{
    Result,
    error::retry_locked,
    health::{DriverError, Health},
    read_pool::ReadPool,
    snapshots::Snapshots,
    transaction::Transaction,
    turns::{Turn, Turns},
};
use crate::{domain::OwnerName, metrics::DbMetrics, owner_locks::OwnerLocks};

/// The parameters with which the server creates new pools.
#[derive(Debug)]
pub(super) enum Source {
    /// Nothing: the server never replaces the pools of a SQLite file.
    Sqlite,
    /// `connections` is the largest number of connections in all pools together. `set_up` is executed on each of them.
    Postgres { target: Box<PgConnectOptions>, connections: u32, set_up: &'static str, metrics: DbMetrics },
}

/// Separate pools for writes, for reads, and for reads of one session.
#[derive(Debug)]
pub(super) struct Pool {
    pub(super) read: DatabaseConnection,
    pub(super) write: DatabaseConnection,
    pub(super) lookups: ReadPool,
    /// `None` on SQLite, which always answers.
    health: Option<Arc<Health>>,
}

impl Pool {
    pub(super) fn new(
        read: DatabaseConnection,
        write: DatabaseConnection,
        lookups: ReadPool,
        health: Option<Arc<Health>>,
    ) -> Self {
        Self { read, write, lookups, health }
    }

    /// Waits for `work`. On PostgreSQL there is a time-out.
    pub(super) async fn bounded<T, E: DriverError>(&self, work: impl Future<Output = Result<T, E>>) -> Result<T, E> {
        match &self.health {
            Some(health) => health.bounded(work).await,
            None => work.await,
        }
    }
}

/// The pools in use.
#[derive(Debug)]
pub(super) struct Pools {
    current: RwLock<Arc<Pool>>,
    source: Source,
}

impl Pools {
    pub(super) fn new(pool: Pool, source: Source) -> Arc<Self> {
        Arc::new(Self { current: RwLock::new(Arc::new(pool)), source })
    }

    /// The pools to use. Creates new ones if PostgreSQL does not answer on the old ones.
    pub(super) fn current(&self) -> Arc<Pool> {
        let is_usable = |pool: &Pool| pool.health.as_ref().is_none_or(|health| !health.is_abandoned());
        let current = Arc::clone(&self.current.read());
        match &self.source {
            Source::Postgres { target, connections, set_up, metrics } if !is_usable(&current) => {
                let mut current = self.current.write();
                // Another request may have replaced them already.
                if !is_usable(&current) {
                    *current = Arc::new(super::postgres::pool(target, *connections, set_up, metrics));
                }
                Arc::clone(&current)
            }
            _ => current,
        }
    }
}

/// Runs each statement on a connection from the current pool.
#[derive(Clone, Debug)]
pub(super) struct Connection {
    pools: Arc<Pools>,
    /// Where a write waits for its turn. `None` for reads.
    turns: Option<Turns>,
    owner: Option<OwnerName>,
    /// Where transactions that change a session say so.
    snapshots: Snapshots,
    /// The queues of the transactions that change an account.
    accounts: Arc<OwnerLocks>,
}

impl Connection {
    pub(super) fn reading(pools: &Arc<Pools>) -> Self {
        Self {
            pools: Arc::clone(pools),
            turns: None,
            owner: None,
            snapshots: Snapshots::new(),
            accounts: Arc::default(),
        }
    }

    /// Writes on at most `connections` connections at the same time.
    pub(super) fn writing(pools: &Arc<Pools>, connections: u32, snapshots: &Snapshots, metrics: &DbMetrics) -> Self {
        let (pools, turns) = (Arc::clone(pools), Some(Turns::new(connections, metrics.write_wait.clone())));
        Self { pools, turns, owner: None, snapshots: snapshots.clone(), accounts: Arc::default() }
    }

    /// The same connection, but its writes wait in this owner's queue; see `turns`. Without this call they wait in the
    /// server's queue.
    pub(super) fn of(&self, owner: &OwnerName) -> Self {
        Self { owner: Some(owner.clone()), ..self.clone() }
    }

    pub(super) async fn ping(&self) -> Result<(), DbErr> {
        Box::pin(self.run(|connection| async move { connection.ping().await })).await
    }

    /// Begins a transaction. On SQLite a transaction that will write is IMMEDIATE. If it began as a read, SQLite could
    /// refuse its first write.
    pub(super) async fn begin(&self, options: TransactionOptions) -> Result<Transaction, DbErr> {
        let turn = self.turn().await?;
        let mode = turn.is_some().then_some(SqliteTransactionMode::Immediate);
        let options = TransactionOptions { sqlite_transaction_mode: mode, ..options };
        let pool = self.pools.current();
        let connection = self.connection(&pool).clone();
        let (snapshots, accounts) = (self.snapshots.clone(), Arc::clone(&self.accounts));
        Transaction::begin(connection, pool, options, snapshots, accounts, turn).await
    }

    /// Runs one statement in its turn, with a time-out. Retries while another transaction holds a lock that it needs.
    async fn run<T, F>(&self, work: impl Fn(DatabaseConnection) -> F + Send + Sync) -> Result<T, DbErr>
    where
        F: Future<Output = Result<T, DbErr>> + Send,
    {
        let once = async || {
            let _turn = self.turn().await?;
            let pool = self.pools.current();
            pool.bounded(work(self.connection(&pool).clone())).await
        };
        retry_locked(once).await
    }

    /// The number of writes that run, and of those that wait for their turn.
    pub(super) fn writes(&self) -> (u32, usize) {
        self.turns.as_ref().map_or((0, 0), |turns| (turns.taken(), turns.waiting()))
    }

    /// Waits for a turn to write. `None` for reads.
    pub(super) async fn turn(&self) -> Result<Option<Turn>, DbErr> {
        match &self.turns {
            Some(turns) => Ok(Some(turns.take(self.owner.as_ref()).await?)),
            None => Ok(None),
        }
    }

    fn connection<'a>(&self, pool: &'a Pool) -> &'a DatabaseConnection {
        if self.turns.is_some() { &pool.write } else { &pool.read }
    }
}

#[async_trait::async_trait]
impl ConnectionTrait for Connection {
    fn get_database_backend(&self) -> DbBackend {
        match self.pools.source {
            Source::Sqlite => DbBackend::Sqlite,
            Source::Postgres { .. } => DbBackend::Postgres,
        }
    }

    async fn execute_raw(&self, statement: Statement) -> Result<ExecResult, DbErr> {
        let statement = &statement;
        self.run(|connection| async move { connection.execute_raw(statement.clone()).await }).await
    }

    async fn execute_unprepared(&self, sql: &str) -> Result<ExecResult, DbErr> {
        self.run(|connection| async move { connection.execute_unprepared(sql).await }).await
    }

    async fn query_one_raw(&self, statement: Statement) -> Result<Option<QueryResult>, DbErr> {
        let statement = &statement;
        self.run(|connection| async move { connection.query_one_raw(statement.clone()).await }).await
    }

    async fn query_all_raw(&self, statement: Statement) -> Result<Vec<QueryResult>, DbErr> {
        let statement = &statement;
        self.run(|connection| async move { connection.query_all_raw(statement.clone()).await }).await
    }
}

//! The pools of connections, and which statement uses which pool.
//!
//! Reads have connections of their own, so that a status read never waits for a writer that waits for a row. Writes take
//! turns by owner. When PostgreSQL does not answer, new pools replace the old ones.

use std::sync::{Arc, PoisonError, RwLock};

use prometheus_client::metrics::counter::Counter;
use sea_orm::{
    ConnectionTrait, DatabaseConnection, DatabaseTransaction, DbBackend, DbErr, ExecResult, QueryResult,
    SqliteTransactionMode, Statement, TransactionOptions, TransactionTrait, sqlx::postgres::PgConnectOptions,
};

use super::{
    Result,
    error::unless_locked,
    health::{DriverError, Health},
    read_pool::ReadPool,
    turns::{Turn, Turns},
};
use crate::domain::OwnerName;

/// What pools are made from.
#[derive(Debug)]
pub(super) enum Source {
    /// A file does not go away; its pools stay.
    Sqlite,
    /// Up to this many connections.
    Postgres { target: Box<PgConnectOptions>, connections: u32, statements: Counter },
}

/// Separate pools for writes, for reads, and for reads of one session.
#[derive(Debug)]
pub(super) struct Pool {
    pub(super) read: DatabaseConnection,
    pub(super) write: DatabaseConnection,
    pub(super) lookups: ReadPool,
    /// `None` on SQLite, which is never silent.
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

    /// Waits for the work, on PostgreSQL with a time-out.
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

    /// The pools to use now: new ones, if the old ones fell silent.
    pub(super) fn current(&self) -> Arc<Pool> {
        let is_well = |pool: &Pool| pool.health.as_ref().is_none_or(|health| !health.is_given_up());
        let current = Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner));
        match &self.source {
            Source::Postgres { target, connections, statements } if !is_well(&current) => {
                let mut current = self.current.write().unwrap_or_else(PoisonError::into_inner);
                // Another request may have replaced them already.
                if !is_well(&current) {
                    *current = Arc::new(super::postgres::pool(target, *connections, statements));
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
    /// Writes wait here for their turn; `None` for reads.
    turns: Option<Turns>,
    owner: Option<OwnerName>,
}

impl Connection {
    pub(super) fn reading(pools: &Arc<Pools>) -> Self {
        Self { pools: Arc::clone(pools), turns: None, owner: None }
    }

    /// Writes on up to this many connections at once.
    pub(super) fn writing(pools: &Arc<Pools>, connections: u32) -> Self {
        Self { pools: Arc::clone(pools), turns: Some(Turns::new(connections)), owner: None }
    }

    /// The same, but writes take this owner's turns. Without an owner they take the server's own.
    pub(super) fn of(&self, owner: &OwnerName) -> Self {
        Self { owner: Some(owner.clone()), ..self.clone() }
    }

    pub(super) async fn ping(&self) -> Result<(), DbErr> {
        Box::pin(self.run(|connection| async move { connection.ping().await })).await
    }

    /// On SQLite a transaction that will write is IMMEDIATE: SQLite may refuse the first write of one that began with a
    /// read.
    pub(super) async fn begin(&self, options: TransactionOptions) -> Result<Transaction, DbErr> {
        let turn = self.turn().await?;
        let mode = turn.is_some().then_some(SqliteTransactionMode::Immediate);
        let options = TransactionOptions { sqlite_transaction_mode: mode, ..options };
        let pool = self.pools.current();
        let tx = pool.bounded(self.connection(&pool).begin_with_options(options)).await?;
        Ok(Transaction { tx, pool, _turn: turn })
    }

    /// Runs one statement: in its turn, with a time-out, and again while another transaction holds a lock that it needs.
    async fn run<T, F>(&self, work: impl Fn(DatabaseConnection) -> F + Send + Sync) -> Result<T, DbErr>
    where
        F: Future<Output = Result<T, DbErr>> + Send,
    {
        let once = async || {
            let _turn = self.turn().await?;
            let pool = self.pools.current();
            pool.bounded(work(self.connection(&pool).clone())).await
        };
        unless_locked(once).await
    }

    async fn turn(&self) -> Result<Option<Turn>, DbErr> {
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

/// A transaction whose statements have a time-out each. Rolled back if it is dropped before [`commit`](Self::commit).
#[derive(Debug)]
pub(super) struct Transaction {
    tx: DatabaseTransaction,
    pool: Arc<Pool>,
    _turn: Option<Turn>,
}

impl Transaction {
    /// After an error it is not known whether the commit took effect.
    pub(super) async fn commit(self) -> Result<(), DbErr> {
        self.pool.bounded(Box::pin(self.tx.commit())).await
    }
}

#[async_trait::async_trait]
impl ConnectionTrait for Transaction {
    fn get_database_backend(&self) -> DbBackend {
        self.tx.get_database_backend()
    }

    async fn execute_raw(&self, statement: Statement) -> Result<ExecResult, DbErr> {
        self.pool.bounded(self.tx.execute_raw(statement)).await
    }

    async fn execute_unprepared(&self, sql: &str) -> Result<ExecResult, DbErr> {
        self.pool.bounded(self.tx.execute_unprepared(sql)).await
    }

    async fn query_one_raw(&self, statement: Statement) -> Result<Option<QueryResult>, DbErr> {
        self.pool.bounded(self.tx.query_one_raw(statement)).await
    }

    async fn query_all_raw(&self, statement: Statement) -> Result<Vec<QueryResult>, DbErr> {
        self.pool.bounded(self.tx.query_all_raw(statement)).await
    }
}

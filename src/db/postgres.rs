//! Opening PostgreSQL, which several nodes can share.
//!
//! Owns the settings of its connections, such as their time-outs, and the lock for migrations. Does not own the pools'
//! use: that is `pools`.

use std::{str::FromStr, sync::Arc, time::Duration};

use sea_orm::{
    DatabaseConnection, DbErr, RuntimeErr,
    sqlx::{
        self, ConnectOptions as _, Connection, Executor, PgPool,
        postgres::{PgConnectOptions, PgConnection, PgPoolOptions},
    },
};

use super::{
    ACQUIRE_TIMEOUT, Db, Result,
    changes::ChangeSource,
    count_statements,
    health::{ANSWER_TIMEOUT, Health, within},
    node_lock::{self, ExclusiveUse, shared_lock},
    pools::{Pool, Pools, Source},
    read_pool::{ReadPool, TRUSTED_IDLE, Target},
    snapshots::Snapshots,
};
use crate::metrics::DbMetrics;

/// The settings of each connection: time-outs, and no plans with bitmaps. The server sets them after connecting, because poolers such as PgBouncer refuse
/// them in the startup message. Statements are short, and a transaction holds a row lock during a few statements. A
/// statement that does not get a lock within 20 ms fails, and the server retries it on any free connection. If a node
/// hangs in a transaction, PostgreSQL rolls it back after 10 s and frees its locks. If a node is gone, PostgreSQL's TCP
/// notices it. A bitmap of an index has no order, so a statement with a limit would read all rows of an owner; without statistics,
/// PostgreSQL chooses such plans.
macro_rules! settings {
    () => {
        "SET enable_bitmapscan = off; SET statement_timeout = '5s'; SET lock_timeout = '20ms'; \
         SET idle_in_transaction_session_timeout = '10s'; SET tcp_user_timeout = '15s'; \
         SET tcp_keepalives_idle = 10; SET tcp_keepalives_interval = 3; SET tcp_keepalives_count = 3"
    };
}

/// The set-up of the connections of `partway move`, which has the [`ExclusiveUse`] of its target.
const SETTINGS: &str = settings!();
/// The set-up of its connections to its source.
const SETTINGS_TO_READ: &str = concat!(settings!(), "; SET default_transaction_read_only = on");
/// The set-up of all other connections.
const SETTINGS_OF_NODES: &str = concat!(settings!(), "; ", shared_lock!());
/// The pause between two attempts to get the schema lock.
const SCHEMA_LOCK_PAUSE: Duration = Duration::from_millis(200);

impl Db {
    /// Connects to PostgreSQL with at most `connections` connections, and one more that listens for changes. Does not
    /// migrate.
    ///
    /// # Errors
    /// The URL is invalid, PostgreSQL does not answer there, or `partway move` uses the database.
    pub async fn open_postgres(url: &str, connections: u32) -> Result<Self> {
        let target = parse(url)?;
        node_lock::check_no_move(&target).await?;
        Self::connect(target, connections, SETTINGS_OF_NODES).await
    }

    /// The same for the target of `partway move`: no server uses the database until the lock is released.
    ///
    /// # Errors
    /// The URL is invalid, PostgreSQL does not answer there, or a server uses the database.
    pub async fn open_postgres_alone(url: &str, connections: u32) -> Result<(Self, ExclusiveUse)> {
        let target = parse(url)?;
        let lock = ExclusiveUse::take(&target).await?;
        Ok((Self::connect(target, connections, SETTINGS).await?, lock))
    }

    /// The same for the source of `partway move`: PostgreSQL refuses all changes on these connections.
    ///
    /// # Errors
    /// Those of [`open_postgres_alone`](Self::open_postgres_alone).
    pub async fn open_postgres_to_read(url: &str, connections: u32) -> Result<(Self, ExclusiveUse)> {
        let target = parse(url)?;
        let lock = ExclusiveUse::take(&target).await?;
        Ok((Self::connect(target, connections, SETTINGS_TO_READ).await?, lock))
    }

    async fn connect(target: PgConnectOptions, connections: u32, set_up: &'static str) -> Result<Self> {
        let metrics = DbMetrics::default();
        let pool = pool(&target, connections, set_up, &metrics);
        let (target, writers) = (Box::new(target), Share::of(connections).writers);
        let source = Source::Postgres { target: target.clone(), connections, set_up, metrics: metrics.clone() };
        let (pools, changes) = (Pools::new(pool, source), ChangeSource::Postgres(target));
        let db = Self::new(pools, writers, changes, Snapshots::new(), None, metrics);
        db.ping().await?;
        Ok(db)
    }
}

fn parse(url: &str) -> Result<PgConnectOptions> {
    // Partway reads no floats, and poolers refuse startup parameters that they do not support.
    let target = PgConnectOptions::from_str(url).map_err(conn)?.disable_statement_logging().extra_float_digits(None);
    Ok(if target.get_application_name().is_none() { target.application_name("partway") } else { target })
}

/// How the connections are divided among the pools.
struct Share {
    writers: u32,
    readers: u32,
    lookups: u32,
}

impl Share {
    /// Half for writes, a quarter for reads of one session, the rest for other reads. At least one each.
    fn of(connections: u32) -> Self {
        let (writers, lookups) = ((connections / 2).max(1), (connections / 4).max(1));
        Self { writers, readers: connections.saturating_sub(writers + lookups).max(1), lookups }
    }
}

/// Creates pools that connect on first use.
pub(super) fn pool(target: &PgConnectOptions, connections: u32, set_up: &'static str, metrics: &DbMetrics) -> Pool {
    let health = Arc::new(Health::new());
    let pool = |connections| {
        let (acquiring, releasing) = (Arc::clone(&health), Arc::clone(&health));
        // No minimum number of connections: sqlx would open them in the background with a time-out of five minutes.
        let options = PgPoolOptions::new()
            .max_connections(connections)
            .acquire_timeout(ACQUIRE_TIMEOUT)
            .test_before_acquire(false)
            .before_acquire(move |connection, used| {
                let health = Arc::clone(&acquiring);
                Box::pin(async move {
                    if used.idle_for > TRUSTED_IDLE {
                        health.test(connection).await?;
                    }
                    Ok(true)
                })
            })
            .after_connect(move |connection, _| Box::pin(async move { connection.execute(set_up).await.map(drop) }))
            .after_release(move |connection, _| {
                let health = Arc::clone(&releasing);
                Box::pin(async move { health.test_if_suspect(connection).await.map(|()| true) })
            });
        count_statements(options.connect_lazy_with(target.clone()).into(), metrics)
    };
    let Share { writers, readers, lookups } = Share::of(connections);
    let (read, write) = (pool(readers), pool(writers));
    let target = Target::Postgres { options: Box::new(target.clone()), set_up, health: Arc::clone(&health) };
    let lookups = ReadPool::new(target, lookups, read.clone());
    Pool::new(read, write, lookups, Some(health))
}

/// A connection without time-outs, for long statements. The caller must close it.
pub(super) async fn without_timeouts(target: &PgConnectOptions) -> Result<DatabaseConnection> {
    let options = PgPoolOptions::new().max_connections(1).acquire_timeout(ACQUIRE_TIMEOUT).max_lifetime(None);
    let pool: PgPool = Box::pin(options.connect_with(target.clone())).await.map_err(conn)?;
    Ok(pool.into())
}

pub(super) fn conn(error: sqlx::Error) -> DbErr {
    DbErr::Conn(RuntimeErr::SqlxError(error.into()))
}

/// An advisory lock on the whole schema, held by its own connection. PostgreSQL frees it when the connection ends.
#[derive(Debug)]
pub(super) struct SchemaLock(PgConnection);

impl SchemaLock {
    /// Takes the lock. Waits while another node migrates, without a limit.
    pub(super) async fn take(target: &PgConnectOptions) -> Result<Self> {
        let connecting = Box::pin(PgConnection::connect_with(target));
        let mut connection = within(ANSWER_TIMEOUT, connecting).await.map_err(conn)?;
        let statement = "SELECT pg_try_advisory_lock(hashtextextended('partway.' || current_schema(), 0))";
        loop {
            let locking = Box::pin(sqlx::query_scalar(statement).fetch_one(&mut connection));
            let is_locked: bool = within(ANSWER_TIMEOUT, locking).await.map_err(conn)?;
            if is_locked {
                return Ok(Self(connection));
            }
            tokio::time::sleep(SCHEMA_LOCK_PAUSE).await;
        }
    }

    /// Releases the lock.
    pub(super) async fn release(self) -> Result<()> {
        Ok(self.0.close().await?)
    }
}

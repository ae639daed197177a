//! PostgreSQL: many servers on one database.
//!
//! Owns how it is connected to, with which time-outs, and the locks that keep servers apart where no row can.

use std::{str::FromStr, sync::Arc, time::Duration};

use prometheus_client::metrics::counter::Counter;
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
    pools::{Pool, Pools, Source},
    read_pool::{ReadPool, TRUSTED_IDLE, Target},
};

/// Set on each new connection, not in the startup message: poolers such as PgBouncer refuse it there. Our statements
/// are short, and a transaction holds a row lock for only a few of them. A lock that is not free at once is requested
/// again, on any free connection. PostgreSQL rolls back a transaction that stands still, for example when its server
/// hangs, and frees its lock; its side of TCP notices a server that is gone.
const TIMEOUTS: &str = "SET statement_timeout = '5s'; SET lock_timeout = '20ms'; \
                        SET idle_in_transaction_session_timeout = '10s'; SET tcp_user_timeout = '15s'; \
                        SET tcp_keepalives_idle = 10; SET tcp_keepalives_interval = 3; SET tcp_keepalives_count = 3";
/// How often the schema lock is requested.
const ASK_AGAIN: Duration = Duration::from_millis(200);

impl Db {
    /// Connects to PostgreSQL with up to this many connections, and one more that listens. Does not migrate.
    ///
    /// # Errors
    /// The URL cannot be read, or nothing answers there.
    pub async fn open_postgres(url: &str, connections: u32) -> Result<Self> {
        // We read no floats; poolers refuse what they do not know.
        let target =
            PgConnectOptions::from_str(url).map_err(conn)?.disable_statement_logging().extra_float_digits(None);
        let target = if target.get_application_name().is_none() { target.application_name("partway") } else { target };
        let statements = Counter::default();
        let pool = pool(&target, connections, &statements);
        let (target, writers) = (Box::new(target), Share::of(connections).writers);
        let source = Source::Postgres { target: target.clone(), connections, statements: statements.clone() };
        let db = Self::new(Pools::new(pool, source), writers, ChangeSource::Postgres(target), statements);
        db.ping().await?;
        Ok(db)
    }
}

/// How many of the connections are for what.
struct Share {
    writers: u32,
    readers: u32,
    lookups: u32,
}

impl Share {
    /// Half for writing, and a quarter for reading one session. At least one each.
    fn of(connections: u32) -> Self {
        let (writers, lookups) = ((connections / 2).max(1), (connections / 4).max(1));
        Self { writers, readers: connections.saturating_sub(writers + lookups).max(1), lookups }
    }
}

/// Pools that connect on first use.
pub(super) fn pool(target: &PgConnectOptions, connections: u32, statements: &Counter) -> Pool {
    let health = Arc::new(Health::new());
    let pool = |connections| {
        let (acquiring, releasing) = (Arc::clone(&health), Arc::clone(&health));
        // No minimum number of connections: sqlx would connect in the background with a time-out of five minutes.
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
            .after_connect(|connection, _| Box::pin(async move { connection.execute(TIMEOUTS).await.map(drop) }))
            .after_release(move |connection, _| {
                let health = Arc::clone(&releasing);
                Box::pin(async move { health.test_if_doubted(connection).await.map(|()| true) })
            });
        count_statements(options.connect_lazy_with(target.clone()).into(), statements)
    };
    let Share { writers, readers, lookups } = Share::of(connections);
    let (read, write) = (pool(readers), pool(writers));
    let target = Target::Postgres { options: Box::new(target.clone()), set_up: TIMEOUTS, health: Arc::clone(&health) };
    Pool::new(read, write, ReadPool::new(target, lookups), Some(health))
}

/// A connection without time-outs, for long statements. Close it after use.
pub(super) async fn unhurried(target: &PgConnectOptions) -> Result<DatabaseConnection> {
    let options = PgPoolOptions::new().max_connections(1).acquire_timeout(ACQUIRE_TIMEOUT).max_lifetime(None);
    let pool: PgPool = Box::pin(options.connect_with(target.clone())).await.map_err(conn)?;
    Ok(pool.into())
}

fn conn(error: sqlx::Error) -> DbErr {
    DbErr::Conn(RuntimeErr::SqlxError(error.into()))
}

/// A lock of the whole schema, on a connection of its own: it is free again when this is dropped, however that comes.
#[derive(Debug)]
pub(super) struct SchemaLock(PgConnection);

impl SchemaLock {
    /// Waits for the lock for as long as another server migrates.
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
            tokio::time::sleep(ASK_AGAIN).await;
        }
    }

    /// Releases the lock.
    pub(super) async fn release(self) -> Result<()> {
        Ok(self.0.close().await?)
    }
}

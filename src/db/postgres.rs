//! PostgreSQL: many servers on one database.
//!
//! Owns how it is connected to, with which time-outs, and the locks that keep servers apart where no row can. There are
//! two pools, so that a status read never waits for a connection that waits for a row.

use std::{
    str::FromStr,
    sync::{Arc, atomic::AtomicU64},
    time::Duration,
};

use sea_orm::{
    ConnectOptions, DbErr, RuntimeErr,
    sqlx::{
        self, ConnectOptions as _, Connection, Executor,
        postgres::{PgConnectOptions, PgConnection},
    },
};

use super::{ACQUIRE_TIMEOUT, Db, Result, changes::Watched, connect};

/// Said on each new connection; not when connecting, which poolers such as PgBouncer refuse. All of our statements are short,
/// and whoever has a row holds it for a few of them. A transaction that stands still, as when its server hangs, is undone
/// and its lock is free.
const TIMEOUTS: &str = "SET statement_timeout = '10s'; SET lock_timeout = '5s'; \
                        SET idle_in_transaction_session_timeout = '10s'";
/// A connection that nobody used for so long is tried before it is used. Trying each time would cost a round trip.
const TRUSTED_IDLE: Duration = Duration::from_secs(1);

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
        let statements = Arc::<AtomicU64>::default();
        let write = connect(options(&target, connections.div_ceil(2)), &statements).await?;
        let read = connect(options(&target, (connections / 2).max(1)), &statements).await?;
        Ok(Self::new(read, write, Watched::Postgres(Box::new(target)), statements))
    }
}

fn options(target: &PgConnectOptions, connections: u32) -> ConnectOptions {
    let target = target.clone();
    // The real target is set below; sea-orm only looks at the scheme.
    let mut options = ConnectOptions::new("postgres://");
    options
        .max_connections(connections)
        .min_connections(1)
        .acquire_timeout(ACQUIRE_TIMEOUT)
        .test_before_acquire_if_idle_for(TRUSTED_IDLE)
        .sqlx_logging(false)
        .map_sqlx_postgres_opts(move |_| target.clone())
        .map_sqlx_postgres_pool_opts(|options| {
            options.after_connect(|connection, _| Box::pin(async move { connection.execute(TIMEOUTS).await.map(drop) }))
        });
    options
}

fn conn(error: sqlx::Error) -> DbErr {
    DbErr::Conn(RuntimeErr::SqlxError(error.into()))
}

/// A lock of the whole schema, on a connection of its own: it is free again when this is dropped, however that comes.
#[derive(Debug)]
pub(super) struct SchemaLock(PgConnection);

impl SchemaLock {
    /// Waits for it.
    pub(super) async fn take(target: &PgConnectOptions) -> Result<Self> {
        // Without the time-outs: whoever has it may be migrating for longer than any other statement takes.
        let mut connection = PgConnection::connect_with(target).await.map_err(conn)?;
        let statement = "SELECT pg_advisory_lock(hashtextextended('partway.' || current_schema(), 0))";
        sqlx::query(statement).execute(&mut connection).await?;
        Ok(Self(connection))
    }

    /// Gives it back.
    pub(super) async fn release(self) -> Result<()> {
        Ok(self.0.close().await?)
    }
}

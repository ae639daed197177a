//! The pool of connections for reads of one row.
//!
//! Owns these connections, and when one is tested or dropped. sqlx's pool pings every connection that returns to it.
//! That is one more round trip for each read, more than a quarter of the cost of a status read. This pool pings a
//! connection only if it was idle for longer than [`TRUSTED_IDLE`], and drops a connection whose last statement failed
//! or was abandoned. If it cannot connect, the read uses the pool of all other reads, which waits and retries. Does not
//! own the statements: those are in `session_read`.

use std::{sync::Arc, time::Duration};

use deadpool::{
    Status,
    managed::{Manager, Metrics, Object, Pool, PoolError, RecycleError, RecycleResult},
};
use sea_orm::{DatabaseConnection, DbBackend};
use sqlx::{
    Connection, Executor, FromRow, PgConnection, SqlStr, SqliteConnection,
    postgres::{PgConnectOptions, PgRow},
    sqlite::{SqliteConnectOptions, SqliteRow},
};

use uuid::Uuid;

use super::{ACQUIRE_TIMEOUT, PoolStatus, health::Health};
use crate::domain::{OwnerName, SessionId};

/// The server tests a PostgreSQL connection before use if it was idle for longer than this.
pub(super) const TRUSTED_IDLE: Duration = Duration::from_secs(1);
/// The server closes a connection that was idle for longer than this, as sqlx's pools do.
const MAX_IDLE: Duration = Duration::from_mins(10);
/// The server closes a connection that is older than this, as sqlx's pools do.
const MAX_AGE: Duration = Duration::from_mins(30);

/// A type that both drivers can read from a row.
pub(super) trait Read: for<'r> FromRow<'r, SqliteRow> + for<'r> FromRow<'r, PgRow> + Send + Unpin {}

impl<T> Read for T where T: for<'r> FromRow<'r, SqliteRow> + for<'r> FromRow<'r, PgRow> + Send + Unpin {}

/// The parameters of a statement.
#[derive(Clone, Copy, Debug)]
pub(super) struct Key<'a> {
    pub(super) owner: &'a OwnerName,
    pub(super) id: SessionId,
}

/// Where to connect.
#[derive(Debug)]
pub(super) enum Target {
    /// A local file. Its connections need no test.
    Sqlite(Box<SqliteConnectOptions>),
    /// A PostgreSQL server. `set_up` is executed on every new connection.
    Postgres { options: Box<PgConnectOptions>, set_up: &'static str, health: Arc<Health> },
}

/// The pool.
#[derive(Debug)]
pub(super) struct ReadPool {
    pool: Pool<Target>,
    /// The pool of all other reads.
    general: DatabaseConnection,
}

impl ReadPool {
    pub(super) fn new(target: Target, connections: u32, general: DatabaseConnection) -> Self {
        let size = usize::try_from(connections).unwrap_or(usize::MAX);
        let pool = Pool::builder(target).max_size(size).build();
        Self { pool: pool.expect("a pool without time-outs needs no runtime"), general }
    }

    /// Its connections now, and how many reads wait for one.
    pub(super) fn status(&self) -> (PoolStatus, usize) {
        let Status { max_size, size, available, waiting } = self.pool.status();
        (PoolStatus { busy: size.saturating_sub(available), idle: available, max: max_size }, waiting)
    }

    /// Runs a statement that returns at most one row.
    pub(super) async fn fetch_optional<T: Read>(&self, text: SqlStr, key: Key<'_>) -> Result<Option<T>, sqlx::Error> {
        let Some(mut connection) = self.connection().await? else {
            return match self.general.get_database_backend() {
                DbBackend::Postgres => fetch_optional(self.general.get_postgres_connection_pool(), text, key).await,
                _ => fetch_optional(self.general.get_sqlite_connection_pool(), text, key).await,
            }?
            .transpose();
        };
        let fetched = connection.fetch_optional(text, key).await;
        self.drop_idle_unless(connection.is_usable);
        fetched
    }

    /// Runs a statement on PostgreSQL whose only parameter is these ids, and returns all rows.
    pub(super) async fn fetch_by_ids<T>(&self, text: &'static str, ids: &[Uuid]) -> Result<Vec<T>, sqlx::Error>
    where
        T: for<'r> FromRow<'r, PgRow> + Send + Unpin,
    {
        let query = sqlx::query_as(text).bind(ids);
        let Some(mut connection) = self.connection().await? else {
            return query.fetch_all(self.general.get_postgres_connection_pool()).await;
        };
        let ReadConnection { driver: Driver::Postgres(driver), is_usable } = &mut *connection else {
            return Err(sqlx::Error::Configuration("the statement is for PostgreSQL".into()));
        };
        *is_usable = false;
        let fetched = query.fetch_all(driver).await;
        *is_usable = fetched.is_ok();
        self.drop_idle_unless(*is_usable);
        fetched
    }

    /// After a failure, drops the idle connections: its cause may have broken them too.
    fn drop_idle_unless(&self, is_usable: bool) {
        if !is_usable {
            self.pool.retain(|_, _| false);
        }
    }

    /// A connection of this pool; `None` if there is none and the database accepts no new one.
    async fn connection(&self) -> Result<Option<Object<Target>>, sqlx::Error> {
        let connection = tokio::time::timeout(ACQUIRE_TIMEOUT, self.pool.get()).await;
        match connection.map_err(|_| sqlx::Error::PoolTimedOut)? {
            Ok(connection) => Ok(Some(connection)),
            Err(PoolError::Backend(error)) => {
                tracing::debug!(%error, "cannot connect for a read; using the pool of other reads");
                Ok(None)
            }
            Err(_) => Err(sqlx::Error::PoolClosed),
        }
    }

    /// Closes connections that are idle for too long or too old.
    pub(super) async fn close_idle(&self) {
        let is_kept = |metrics: Metrics| metrics.last_used() < MAX_IDLE && metrics.age() < MAX_AGE;
        close(self.pool.retain(|_, metrics| is_kept(metrics)).removed).await;
    }

    /// Closes the idle connections now, and each connection in use when it returns.
    pub(super) async fn close(&self) {
        let idle = self.pool.retain(|_, _| false).removed;
        self.pool.close();
        close(idle).await;
    }
}

async fn close(connections: Vec<ReadConnection>) {
    for connection in connections {
        let _ = match connection.driver {
            Driver::Sqlite(connection) => connection.close().await,
            Driver::Postgres(connection) => connection.close().await,
        };
    }
}

/// Runs a statement on a connection, or a pool, of either driver.
async fn fetch_optional<'c, D, T>(
    executor: impl Executor<'c, Database = D>,
    text: SqlStr,
    key: Key<'_>,
) -> Result<Option<Result<T, sqlx::Error>>, sqlx::Error>
where
    D: sqlx::Database,
    T: for<'r> FromRow<'r, D::Row>,
    D::Arguments: sqlx::IntoArguments<D>,
    uuid::Uuid: for<'q> sqlx::Encode<'q, D> + sqlx::Type<D>,
    for<'q> &'q str: sqlx::Encode<'q, D> + sqlx::Type<D>,
{
    let row = sqlx::query(text).bind(key.id.0).bind(key.owner.as_str()).fetch_optional(executor).await?;
    Ok(row.map(|row| T::from_row(&row)))
}

/// A connection to SQLite or PostgreSQL.
#[derive(Debug)]
pub(super) struct ReadConnection {
    driver: Driver,
    /// False while a statement runs. So if a request abandons its statement, the pool does not use the connection
    /// again.
    is_usable: bool,
}

#[derive(Debug)]
enum Driver {
    Sqlite(SqliteConnection),
    Postgres(PgConnection),
}

impl ReadConnection {
    async fn fetch_optional<T: Read>(&mut self, text: SqlStr, key: Key<'_>) -> Result<Option<T>, sqlx::Error> {
        self.is_usable = false;
        let fetched = match &mut self.driver {
            Driver::Sqlite(connection) => fetch_optional(connection, text, key).await,
            Driver::Postgres(connection) => fetch_optional(connection, text, key).await,
        };
        self.is_usable = fetched.is_ok();
        fetched?.transpose()
    }
}

impl Manager for Target {
    type Type = ReadConnection;
    type Error = sqlx::Error;

    async fn create(&self) -> Result<ReadConnection, sqlx::Error> {
        let driver = match self {
            Self::Sqlite(options) => Driver::Sqlite(SqliteConnection::connect_with(options).await?),
            Self::Postgres { options, set_up, .. } => {
                let mut connection = PgConnection::connect_with(options).await?;
                connection.execute(*set_up).await?;
                Driver::Postgres(connection)
            }
        };
        Ok(ReadConnection { driver, is_usable: true })
    }

    async fn recycle(&self, connection: &mut ReadConnection, metrics: &Metrics) -> RecycleResult<sqlx::Error> {
        if !connection.is_usable {
            return Err(RecycleError::message("the last statement failed or was abandoned"));
        }
        if metrics.age() > MAX_AGE {
            return Err(RecycleError::message("the connection is too old"));
        }
        match (self, &mut connection.driver) {
            (Self::Postgres { health, .. }, Driver::Postgres(connection)) if metrics.last_used() > TRUSTED_IDLE => {
                Ok(health.test(connection).await?)
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::{future::join_all, poll};

    const READ: &str = "SELECT 1 WHERE ? IS NOT NULL AND ? = 'ann'";
    /// Is still running when the test drops it.
    const SLOW: &str = "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n WHERE x < 1000000)
                        SELECT max(x) FROM n WHERE ? IS NOT NULL AND ? IS NOT NULL";

    async fn read(pool: &ReadPool, text: &'static str) -> Result<Option<(i64,)>, sqlx::Error> {
        let owner = OwnerName::parse("ann").unwrap();
        let key = Key { owner: &owner, id: SessionId(Uuid::nil()) };
        pool.fetch_optional(SqlStr::from_static(text), key).await
    }

    fn pool(connections: u32) -> ReadPool {
        pool_of(SqliteConnectOptions::new().in_memory(true), connections, DatabaseConnection::default())
    }

    fn pool_of(options: SqliteConnectOptions, connections: u32, general: DatabaseConnection) -> ReadPool {
        ReadPool::new(Target::Sqlite(Box::new(options)), connections, general)
    }

    async fn connection_id(pool: &ReadPool) -> deadpool::managed::ObjectId {
        Object::id(&pool.connection().await.unwrap().unwrap())
    }

    #[tokio::test]
    async fn a_read_that_cannot_connect_uses_the_pool_of_other_reads() {
        let general = sea_orm::Database::connect("sqlite::memory:").await.unwrap();
        let missing = SqliteConnectOptions::new().filename("/nowhere/partway.db");
        let pool = pool_of(missing, 1, general);
        assert_eq!(read(&pool, READ).await.unwrap(), Some((1,)));
    }

    #[tokio::test]
    async fn many_reads_share_a_few_connections() {
        let pool = pool(2);
        for found in join_all((0..20).map(|_| read(&pool, READ))).await {
            assert_eq!(found.unwrap(), Some((1,)));
        }
        assert!(pool.pool.status().size <= 2);
    }

    #[tokio::test]
    async fn after_a_failed_statement_neither_its_connection_nor_an_idle_one_is_used_again() {
        let pool = pool(2);
        let (one, other) = (pool.connection().await.unwrap(), pool.connection().await.unwrap());
        drop((one, other));
        read(&pool, "SELECT nonsense").await.unwrap_err();
        assert_eq!(pool.pool.status().available, 1, "only the failed connection is left, and the next read drops it");
        assert_eq!(read(&pool, READ).await.unwrap(), Some((1,)));
        assert_eq!(pool.pool.status().size, 1);
    }

    #[tokio::test]
    async fn a_connection_whose_statement_was_abandoned_is_not_used_again() {
        let pool = pool(1);
        let before = connection_id(&pool).await;
        let mut abandoned = Box::pin(read(&pool, SLOW));
        assert!(poll!(&mut abandoned).is_pending());
        drop(abandoned);
        assert_eq!(read(&pool, READ).await.unwrap(), Some((1,)));
        assert_ne!(connection_id(&pool).await, before);
    }

    #[tokio::test]
    async fn a_connection_is_used_again_after_a_row_that_cannot_be_decoded() {
        let pool = pool(1);
        let before = connection_id(&pool).await;
        read(&pool, "SELECT 'text' WHERE ? IS NOT NULL AND ? IS NOT NULL").await.unwrap_err();
        assert_eq!(connection_id(&pool).await, before);
    }
}

//! Errors of the database, and the retry policy of statements.
//!
//! Owns the meaning of SQLite's result codes and PostgreSQL's SQLSTATEs: whether a failure is temporary, and whether
//! the server retries the statement at once. Does not own the error codes for clients: that is `error`.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use sea_orm::{ConnAcquireErr, DbErr, RuntimeErr, SqlErr, sqlx};

use super::CorruptRow;

/// An error of the database.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The database refused the statement, or the server cannot reach it.
    #[error(transparent)]
    Sql(#[from] DbErr),
    /// A row has an invalid value.
    #[error(transparent)]
    Corrupt(#[from] CorruptRow),
    /// The database's schema is not the one that this version needs.
    #[error("{0}")]
    Schema(String),
    /// A server uses the database that a move needs alone, or the other way round.
    #[error("{0}")]
    InUse(&'static str),
    /// The error of a statement that several requests share.
    #[error(transparent)]
    Shared(Arc<Error>),
}

/// The result of a statement.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl From<sqlx::Error> for Error {
    fn from(error: sqlx::Error) -> Self {
        Self::Sql(match error {
            sqlx::Error::PoolTimedOut => DbErr::ConnectionAcquire(ConnAcquireErr::Timeout),
            sqlx::Error::PoolClosed => DbErr::ConnectionAcquire(ConnAcquireErr::ConnectionClosed),
            other => DbErr::Exec(RuntimeErr::SqlxError(other.into())),
        })
    }
}

impl Error {
    /// Whether the same request may succeed later. Examples are a connection time-out, a lock, a full disk, and a lack
    /// of file descriptors.
    pub fn is_unavailable(&self) -> bool {
        match self {
            Self::Shared(error) => error.is_unavailable(),
            Self::Sql(DbErr::ConnectionAcquire(_) | DbErr::Conn(_)) => true,
            _ if self.is_transient() => true,
            // The low byte of SQLite's code is the primary result code: BUSY 5, LOCKED 6, IOERR 10, FULL 13, and
            // CANTOPEN 14, which a new connection gets if there is no free file descriptor.
            _ => {
                self.sqlite_code().is_some_and(|code| matches!(code & 0xff, 5 | 6 | 10 | 13 | 14)) || {
                    // 53: insufficient resources, such as a full disk. 55P03: lock time-out. 57014: statement time-out.
                    // 25006: the database server is now a standby.
                    let states = ["55P03", "57014", "25006"];
                    self.sql_state().is_some_and(|state| state.starts_with("53") || states.contains(&state))
                }
            }
        }
    }

    /// Whether a row has an invalid value, so that reading it will always fail.
    pub fn is_corrupt(&self) -> bool {
        match self {
            Self::Shared(error) => error.is_corrupt(),
            Self::Corrupt(_) | Self::Sql(DbErr::Type(_) | DbErr::RecordNotFound(_)) => true,
            _ => matches!(self.driver(), Some(sqlx::Error::ColumnDecode { .. } | sqlx::Error::Decode(_))),
        }
    }

    /// Whether the database rolled the statement back, or its connection is lost, so that a retry will probably
    /// succeed.
    pub(super) fn is_transient(&self) -> bool {
        match self.driver() {
            Some(sqlx::Error::Io(_) | sqlx::Error::Protocol(_)) => true,
            // A serialization failure or a deadlock; a connection that failed, or whose server is stopping or starting.
            _ => self.sql_state().is_some_and(|state| {
                state.starts_with("08")
                    || matches!(state, "25P03" | "40001" | "40P01" | "57P01" | "57P02" | "57P03" | "57P05")
            }),
        }
    }

    /// Whether a row with the same key exists.
    pub(super) fn is_duplicate(&self) -> bool {
        matches!(self, Self::Sql(error) if matches!(error.sql_err(), Some(SqlErr::UniqueConstraintViolation(_))))
    }

    fn driver(&self) -> Option<&sqlx::Error> {
        match self {
            Self::Shared(error) => error.driver(),
            Self::Sql(error) => driver(error),
            _ => None,
        }
    }

    fn sqlite_code(&self) -> Option<i32> {
        let error = self.driver()?.as_database_error()?.try_downcast_ref::<sqlx::sqlite::SqliteError>()?;
        sqlx::error::DatabaseError::code(error)?.parse().ok()
    }

    fn sql_state(&self) -> Option<&str> {
        sql_state(self.driver()?)
    }
}

fn driver(error: &DbErr) -> Option<&sqlx::Error> {
    match error {
        DbErr::Conn(RuntimeErr::SqlxError(error))
        | DbErr::Exec(RuntimeErr::SqlxError(error))
        | DbErr::Query(RuntimeErr::SqlxError(error)) => Some(error),
        _ => None,
    }
}

/// PostgreSQL's five-character code.
fn sql_state(error: &sqlx::Error) -> Option<&str> {
    Some(error.as_database_error()?.try_downcast_ref::<sqlx::postgres::PgDatabaseError>()?.code())
}

/// The pause before each retry. Their sum is longer than `TRUSTED_IDLE`, after which a pool tests a connection before
/// use. So if all connections were cut at once, the last retry gets a new one.
const PAUSES: [Duration; 3] = [Duration::from_millis(50), Duration::from_millis(250), Duration::from_secs(1)];
/// After this time the server does not retry a statement.
const RETRY_FOR: Duration = Duration::from_secs(10);
/// Maximum time that a request waits for a lock.
const LOCK_WAIT: Duration = Duration::from_secs(5);
/// The first and the longest pause between two attempts to get a lock. The request holds no connection in a pause.
const LOCK_PAUSES: [Duration; 2] = [Duration::from_millis(5), Duration::from_millis(200)];

/// The wait for a lock that another transaction holds: retries with a growing pause.
#[derive(Debug)]
pub struct LockWait {
    begun: Instant,
    pause: Duration,
}

impl Default for LockWait {
    fn default() -> Self {
        Self { begun: Instant::now(), pause: LOCK_PAUSES[0] }
    }
}

impl LockWait {
    /// Waits before the next attempt, twice as long each time. Returns false at once if the total time is used up.
    pub async fn pause(&mut self) -> bool {
        if self.begun.elapsed() >= LOCK_WAIT {
            return false;
        }
        tokio::time::sleep(self.pause).await;
        self.pause = (self.pause * 2).min(LOCK_PAUSES[1]);
        true
    }
}

/// An error that may mean that another transaction holds a needed lock.
pub(super) trait MayBeLocked {
    fn is_locked(&self) -> bool;
}

impl MayBeLocked for DbErr {
    fn is_locked(&self) -> bool {
        driver(self).and_then(sql_state) == Some("55P03")
    }
}

impl MayBeLocked for Error {
    fn is_locked(&self) -> bool {
        matches!(self, Self::Sql(error) if error.is_locked())
    }
}

/// Retries a statement or a transaction while another transaction holds the lock that it needs. The database rolls back
/// an attempt that does not get its lock, so nothing happens twice.
pub(super) async fn retry_locked<T, E: MayBeLocked, F: Future<Output = Result<T, E>>>(
    mut attempt: impl FnMut() -> F,
) -> Result<T, E> {
    let mut wait = LockWait::default();
    loop {
        match attempt().await {
            Err(error) if error.is_locked() => {
                if !wait.pause().await {
                    return Err(error);
                }
            }
            done => return done,
        }
    }
}

/// Retries a statement while its error is transient. Only for statements that may run twice.
pub(super) async fn retry_transient<T, E: Into<Error>, F: Future<Output = Result<T, E>>>(
    mut attempt: impl FnMut() -> F,
) -> Result<T> {
    let begun = Instant::now();
    for pause in PAUSES {
        match attempt().await.map_err(Into::into) {
            Err(error) if error.is_transient() && begun.elapsed() < RETRY_FOR => {
                tracing::debug!(%error, "retrying a statement after a transient error");
                tokio::time::sleep(pause).await;
            }
            done => return done,
        }
    }
    attempt().await.map_err(Into::into)
}

/// Retries a transaction while its error is transient, or while another transaction holds a lock that it needs. Only
/// for transactions that may run twice.
pub(super) async fn retry_transaction<T, F: Future<Output = Result<T>>>(attempt: impl Fn() -> F) -> Result<T> {
    retry_transient(|| retry_locked(&attempt)).await
}

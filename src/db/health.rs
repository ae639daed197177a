//! Noticing that PostgreSQL does not answer, without an error that says so.
//!
//! Owns the time-out around every statement. When a host hangs, or its address moves to another host, the old connections
//! stay open and silent: TCP reports no error for minutes, and sqlx cannot set keepalive or a user time-out on its sockets.
//! So no statement waits for longer than [`ANSWER_TIMEOUT`]. After that, this gives up all connections of the pool, because
//! the others are silent too. `pools` then makes a new pool.

use std::{
    io,
    pin::pin,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use sea_orm::{
    ConnAcquireErr, DbErr, RuntimeErr,
    sqlx::{self, Connection, postgres::PgConnection},
};

use super::ACQUIRE_TIMEOUT;

/// How long a statement may take, the wait for its connection included. Longer than [`ACQUIRE_TIMEOUT`] and PostgreSQL's own
/// `statement_timeout` together, so that only silence reaches it.
pub(super) const ANSWER_TIMEOUT: Duration = Duration::from_secs(9);
/// How long PostgreSQL may take to answer a ping.
pub(super) const PING_TIMEOUT: Duration = Duration::from_secs(2);
/// For this long after a caller abandoned a statement, every connection is tested before it goes back to the pool.
const DOUBT: Duration = Duration::from_secs(10);

/// Waits for the answer of PostgreSQL for this long.
pub(super) async fn within<T>(
    timeout: Duration,
    work: impl Future<Output = Result<T, sqlx::Error>>,
) -> Result<T, sqlx::Error> {
    tokio::time::timeout(timeout, work).await.unwrap_or_else(|_| Err(Silent.into()))
}

/// What is known of the connections of one pool.
#[derive(Debug)]
pub(super) struct Health {
    is_given_up: AtomicBool,
    times: Mutex<Times>,
}

#[derive(Debug)]
struct Times {
    /// When a statement was last answered.
    answered: Option<Instant>,
    /// When a caller last abandoned a statement.
    doubted: Option<Instant>,
}

/// No answer came in time. What the statement did is not known.
#[derive(Debug)]
pub(super) struct Silent;

/// An error of sqlx, or of sea-orm around it.
pub(super) trait DriverError: From<Silent> {
    /// Whether no connection was to be had in time.
    fn is_acquire_timeout(&self) -> bool;
}

impl Health {
    pub(super) fn new() -> Self {
        let times = Times { answered: None, doubted: None };
        Self { is_given_up: AtomicBool::new(false), times: Mutex::new(times) }
    }

    /// Whether the pool is to be replaced.
    pub(super) fn is_given_up(&self) -> bool {
        self.is_given_up.load(Ordering::Relaxed)
    }

    fn give_up(&self) {
        if !self.is_given_up.swap(true, Ordering::Relaxed) {
            tracing::warn!("PostgreSQL does not answer; all connections are made anew");
        }
    }

    /// Waits for the work, but not for longer than [`ANSWER_TIMEOUT`].
    pub(super) async fn bounded<T, E: DriverError>(&self, work: impl Future<Output = Result<T, E>>) -> Result<T, E> {
        let work = pin!(work);
        // Drops before `work` does, so that the connection comes back as doubted.
        let mut doubt = Doubt(Some(self));
        let done = tokio::time::timeout(ANSWER_TIMEOUT, work).await;
        doubt.0 = None;
        match done {
            Err(_) => {
                self.give_up();
                Err(Silent.into())
            }
            // No free connection. Either many callers share them and get answers, or the connections are all silent:
            // then no statement has been answered for as long.
            Ok(Err(error)) if error.is_acquire_timeout() => {
                if self.times().answered.is_some_and(|at| at.elapsed() >= ACQUIRE_TIMEOUT) {
                    self.give_up();
                }
                // A retry will find the new pool.
                if self.is_given_up() { Err(Silent.into()) } else { Err(error) }
            }
            Ok(done) => {
                self.times().answered = Some(Instant::now());
                done
            }
        }
    }

    /// Whether the connection answers.
    pub(super) async fn test(&self, connection: &mut PgConnection) -> Result<(), sqlx::Error> {
        if self.is_given_up() {
            return Err(Silent.into());
        }
        tokio::time::timeout(PING_TIMEOUT, connection.ping()).await.unwrap_or_else(|_| {
            self.give_up();
            Err(Silent.into())
        })
    }

    /// Tests a connection before it goes back to the pool, if there is a reason for doubt. sqlx's own ping follows, and
    /// that one has no time-out.
    pub(super) async fn test_if_doubted(&self, connection: &mut PgConnection) -> Result<(), sqlx::Error> {
        let is_doubted = self.times().doubted.is_some_and(|at| at.elapsed() < DOUBT);
        if self.is_given_up() || is_doubted { self.test(connection).await } else { Ok(()) }
    }

    fn times(&self) -> MutexGuard<'_, Times> {
        self.times.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Notes, when it is dropped, that a caller abandoned a statement.
struct Doubt<'a>(Option<&'a Health>);

impl Drop for Doubt<'_> {
    fn drop(&mut self) {
        if let Some(health) = self.0 {
            health.times().doubted = Some(Instant::now());
        }
    }
}

impl From<Silent> for sqlx::Error {
    fn from(_: Silent) -> Self {
        Self::Io(io::Error::new(io::ErrorKind::TimedOut, "PostgreSQL did not answer in time"))
    }
}

impl From<Silent> for DbErr {
    fn from(silent: Silent) -> Self {
        Self::Exec(RuntimeErr::SqlxError(sqlx::Error::from(silent).into()))
    }
}

impl DriverError for sqlx::Error {
    fn is_acquire_timeout(&self) -> bool {
        matches!(self, Self::PoolTimedOut)
    }
}

impl DriverError for DbErr {
    fn is_acquire_timeout(&self) -> bool {
        matches!(self, Self::ConnectionAcquire(ConnAcquireErr::Timeout))
    }
}

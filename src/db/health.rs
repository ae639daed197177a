//! Detecting that PostgreSQL does not answer.
//!
//! Owns the time-out around every statement, and the decision to abandon a pool. If a host hangs, or its address moves
//! to another host, the old connections stay open and nothing arrives on them. TCP reports no error for minutes, and
//! sqlx cannot set keepalive or a user time-out on its sockets. So a statement waits at most [`ANSWER_TIMEOUT`]. After
//! that, the server abandons all connections of the pool, because the other ones will not get answers either. `pools`
//! then creates a new pool.

use std::{
    io,
    pin::pin,
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, Instant},
};

use parking_lot::{Mutex, MutexGuard};
use sea_orm::{
    ConnAcquireErr, DbErr, RuntimeErr,
    sqlx::{self, Connection, postgres::PgConnection},
};

use super::ACQUIRE_TIMEOUT;

/// Maximum duration of a statement, including the wait for its connection. Longer than the sum of [`ACQUIRE_TIMEOUT`]
/// (3 s) and PostgreSQL's `statement_timeout` (5 s), so a statement reaches it only if PostgreSQL does not answer.
pub(super) const ANSWER_TIMEOUT: Duration = Duration::from_secs(9);
/// Maximum time that PostgreSQL may take to answer a ping.
pub(super) const PING_TIMEOUT: Duration = Duration::from_secs(2);
/// For this long after a request abandoned a statement, the server tests every connection before it returns to the
/// pool.
const SUSPECT_FOR: Duration = Duration::from_secs(10);

/// Waits for an answer of PostgreSQL, at most `timeout`.
pub(super) async fn within<T>(
    timeout: Duration,
    work: impl Future<Output = Result<T, sqlx::Error>>,
) -> Result<T, sqlx::Error> {
    tokio::time::timeout(timeout, work).await.unwrap_or_else(|_| Err(NoAnswer.into()))
}

/// Whether PostgreSQL answers on the connections of one pool.
#[derive(Debug)]
pub(super) struct Health {
    is_abandoned: AtomicBool,
    times: Mutex<Times>,
}

#[derive(Debug)]
struct Times {
    /// When PostgreSQL last answered a statement.
    answered: Option<Instant>,
    /// When a request last abandoned a statement.
    suspected: Option<Instant>,
}

/// PostgreSQL did not answer in time. The effect of the statement is unknown.
#[derive(Debug)]
pub(super) struct NoAnswer;

/// An error of sqlx, or an error of sea-orm that contains one.
pub(super) trait DriverError: From<NoAnswer> {
    /// Whether the request waited for a free connection until the time-out.
    fn is_acquire_timeout(&self) -> bool;
}

impl Health {
    pub(super) fn new() -> Self {
        let times = Times { answered: None, suspected: None };
        Self { is_abandoned: AtomicBool::new(false), times: Mutex::new(times) }
    }

    /// Whether the server has abandoned the pool. Then `pools` replaces it.
    pub(super) fn is_abandoned(&self) -> bool {
        self.is_abandoned.load(Ordering::Relaxed)
    }

    fn abandon(&self) {
        if !self.is_abandoned.swap(true, Ordering::Relaxed) {
            tracing::warn!("PostgreSQL does not answer; the server opens new connections");
        }
    }

    /// Waits for `work`, at most [`ANSWER_TIMEOUT`].
    pub(super) async fn bounded<T, E: DriverError>(&self, work: impl Future<Output = Result<T, E>>) -> Result<T, E> {
        let work = pin!(work);
        // If the request drops this future, Rust drops this value before `work`: the pool is suspect before the
        // connection returns to it.
        let mut suspicion = Suspicion(Some(self));
        let done = tokio::time::timeout(ANSWER_TIMEOUT, work).await;
        suspicion.0 = None;
        match done {
            Err(_) => {
                self.abandon();
                Err(NoAnswer.into())
            }
            // No connection is free. Either many requests share the connections and get answers, or no connection gets
            // answers: then the last answer is older than this wait.
            Ok(Err(error)) if error.is_acquire_timeout() => {
                if self.times().answered.is_some_and(|at| at.elapsed() >= ACQUIRE_TIMEOUT) {
                    self.abandon();
                }
                // As a transient error, so that the statement is retried, on the new pool.
                if self.is_abandoned() { Err(NoAnswer.into()) } else { Err(error) }
            }
            Ok(done) => {
                self.times().answered = Some(Instant::now());
                done
            }
        }
    }

    /// Pings the connection. If there is no answer, abandons the pool.
    pub(super) async fn test(&self, connection: &mut PgConnection) -> Result<(), sqlx::Error> {
        if self.is_abandoned() {
            return Err(NoAnswer.into());
        }
        tokio::time::timeout(PING_TIMEOUT, connection.ping()).await.unwrap_or_else(|_| {
            self.abandon();
            Err(NoAnswer.into())
        })
    }

    /// Tests a connection that returns to the pool, if the pool is suspect. sqlx then pings it too, but without a
    /// time-out.
    pub(super) async fn test_if_suspect(&self, connection: &mut PgConnection) -> Result<(), sqlx::Error> {
        let is_suspect = self.times().suspected.is_some_and(|at| at.elapsed() < SUSPECT_FOR);
        if self.is_abandoned() || is_suspect { self.test(connection).await } else { Ok(()) }
    }

    fn times(&self) -> MutexGuard<'_, Times> {
        self.times.lock()
    }
}

/// Makes the pool suspect when it is dropped with a value: the request has abandoned a statement.
struct Suspicion<'a>(Option<&'a Health>);

impl Drop for Suspicion<'_> {
    fn drop(&mut self) {
        if let Some(health) = self.0 {
            health.times().suspected = Some(Instant::now());
        }
    }
}

impl From<NoAnswer> for sqlx::Error {
    fn from(_: NoAnswer) -> Self {
        Self::Io(io::Error::new(io::ErrorKind::TimedOut, "PostgreSQL did not answer in time"))
    }
}

impl From<NoAnswer> for DbErr {
    fn from(error: NoAnswer) -> Self {
        Self::Exec(RuntimeErr::SqlxError(sqlx::Error::from(error).into()))
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

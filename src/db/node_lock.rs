//! Keeping servers away from a PostgreSQL database.
//!
//! Owns an advisory lock on the schema. Every connection of a server or a command holds it shared; `partway move` takes it alone.
//! So a move does not begin while a server uses the database, and no server starts while a move runs. On SQLite, and for a folder,
//! a lock file does the same. Does not own the lock for migrations: that is in `postgres`.

use std::time::Duration;

use sea_orm::sqlx::{
    self, Connection, Executor,
    postgres::{PgConnectOptions, PgConnection},
};
use tokio::time::Instant;

use super::{
    Error, Result,
    health::{ANSWER_TIMEOUT, within},
    postgres::conn,
};

/// The key of the lock in PostgreSQL, as an expression.
macro_rules! key {
    () => {
        "hashtextextended('partway.nodes.' || current_schema(), 0)"
    };
}

/// The statement with which each connection of a server takes its share of the lock, until the connection ends. It fails after
/// the `lock_timeout` if a move has the lock.
macro_rules! shared_lock {
    () => {
        concat!("SELECT pg_advisory_lock_shared(", crate::db::node_lock::key!(), ")")
    };
}

pub(super) use key;
pub(super) use shared_lock;

/// How long to wait for the connections of a process that has just stopped: PostgreSQL frees their locks a moment later.
const MAX_WAIT: Duration = Duration::from_secs(3);
const PAUSE: Duration = Duration::from_millis(200);
/// Makes PostgreSQL notice within 20 seconds that this process is gone, and keeps an idle connection open in between.
const KEEP_ALIVE: &str = "SET tcp_user_timeout = '15s'; SET tcp_keepalives_idle = 10; SET tcp_keepalives_interval = 3; \
                          SET tcp_keepalives_count = 3";

/// The lock, held alone. PostgreSQL frees it when the connection ends.
#[derive(Debug)]
pub struct ExclusiveUse(PgConnection);

impl ExclusiveUse {
    /// Takes the lock.
    ///
    /// # Errors
    /// [`Error::InUse`] if a server uses the database.
    pub(super) async fn take(target: &PgConnectOptions) -> Result<Self> {
        let mut connection = connect(target).await?;
        within(ANSWER_TIMEOUT, connection.execute(KEEP_ALIVE)).await?;
        match is_taken(concat!("SELECT pg_try_advisory_lock(", key!(), ")"), &mut connection).await? {
            true => Ok(Self(connection)),
            false => Err(Error::InUse("a server or another command uses this PostgreSQL database; stop it first")),
        }
    }

    /// Checks that the connection still exists, and with it the lock.
    ///
    /// # Errors
    /// The connection is lost, so a server may use the database.
    pub async fn check(&mut self) -> Result<()> {
        Ok(within(ANSWER_TIMEOUT, self.0.ping()).await?)
    }

    /// Frees the lock, so that a server that starts now does not find it. If the connection is lost, PostgreSQL frees it.
    pub async fn release(mut self) {
        let unlock = concat!("SELECT pg_advisory_unlock(", key!(), ")");
        let _ = within(ANSWER_TIMEOUT, self.0.execute(unlock)).await;
        let _ = within(ANSWER_TIMEOUT, self.0.close()).await;
    }
}

/// Checks that no move has the lock. Without this check, a server would wait for a connection, and the error would not say why it
/// gets none.
///
/// # Errors
/// [`Error::InUse`] if a move has the lock.
pub(super) async fn check_no_move(target: &PgConnectOptions) -> Result<()> {
    let mut connection = connect(target).await?;
    let is_free = is_taken(concat!("SELECT pg_try_advisory_lock_shared(", key!(), ")"), &mut connection).await?;
    within(ANSWER_TIMEOUT, connection.close()).await?;
    match is_free {
        true => Ok(()),
        false => Err(Error::InUse("`partway move` uses this database now; wait until it has ended")),
    }
}

async fn connect(target: &PgConnectOptions) -> Result<PgConnection> {
    Ok(within(ANSWER_TIMEOUT, Box::pin(PgConnection::connect_with(target))).await.map_err(conn)?)
}

/// Tries to take the lock, until [`MAX_WAIT`] has passed. Returns whether the connection has it.
async fn is_taken(try_lock: &'static str, connection: &mut PgConnection) -> Result<bool> {
    let deadline = Instant::now() + MAX_WAIT;
    loop {
        let answer: Option<bool> =
            within(ANSWER_TIMEOUT, sqlx::query_scalar(try_lock).fetch_one(&mut *connection)).await?;
        // The answer is NULL if the schema does not exist. Then nothing uses it.
        let is_taken = answer.unwrap_or(true);
        if is_taken || Instant::now() >= deadline {
            return Ok(is_taken);
        }
        tokio::time::sleep(PAUSE).await;
    }
}

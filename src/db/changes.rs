//! Changes of sessions, made by this node or by another one on the same database.
//!
//! Owns the two ways to detect a change. On SQLite the server reads the version of the whole database file every 100
//! ms, and then the versions of the sessions that it follows. On PostgreSQL the transaction that changes a session
//! sends a notification with the session's id, version and owner when it commits, and one connection of each node listens.
//! Does not read the changed sessions: that is `service::watch`.

use std::{fmt, time::Duration};

use entity::upload_session;
use sea_orm::{
    ConnectionTrait, DatabaseConnection, DbBackend, DbErr, EntityTrait, QueryFilter, QuerySelect, Statement,
    sqlx::{
        Executor,
        postgres::{PgConnectOptions, PgListener, PgPoolOptions},
    },
};
use tokio::time::{Interval, MissedTickBehavior};
use uuid::Uuid;

use super::{
    ACQUIRE_TIMEOUT, Db, Result, Transaction,
    error::retry_transient,
    health::{PING_TIMEOUT, within},
    rows,
};
use crate::domain::{OwnerName, Session, SessionId};

const CHANNEL: &str = "partway_session";
const POLL_INTERVAL: Duration = Duration::from_millis(100);
/// After this time without a notification, the server tests the connection.
const TEST_AFTER: Duration = Duration::from_secs(5);

/// The largest number of sessions in one statement.
const MAX_IDS: usize = 500;

/// The source of changes.
#[derive(Clone)]
pub(super) enum ChangeSource {
    /// A connection that never writes, on which the server reads the version of the database.
    Sqlite(DatabaseConnection),
    /// Where to connect in order to listen. Each [`Changes`] opens a connection.
    Postgres(Box<PgConnectOptions>),
}

/// Hides the password.
impl fmt::Debug for ChangeSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Sqlite(_) => "Sqlite",
            Self::Postgres(_) => "Postgres",
        })
    }
}

/// A change in the database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// This session of this owner now has this version.
    Session(SessionId, u64, OwnerName),
    /// Any session may have changed.
    Any,
}

/// The changes since this value was created.
#[derive(Debug)]
pub enum Changes {
    /// Reads the version of the SQLite database at each tick: the connection, the version last read, the ticks.
    Polled(DatabaseConnection, Option<i64>, Interval),
    /// Listens for notifications of PostgreSQL.
    Notified(Box<PgListener>),
}

impl Db {
    /// Starts to listen for changes. Does not report changes that were made before it returns.
    pub async fn changes(&self) -> Result<Changes> {
        match &self.change_source {
            ChangeSource::Sqlite(observe) => {
                let mut ticks = tokio::time::interval(POLL_INTERVAL);
                ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
                Ok(Changes::Polled(observe.clone(), None, ticks))
            }
            ChangeSource::Postgres(target) => {
                let pool = PgPoolOptions::new().max_connections(1).acquire_timeout(ACQUIRE_TIMEOUT);
                let pool = pool.connect_lazy_with((**target).clone());
                let mut listener = PgListener::connect_with(&pool).await?;
                within(PING_TIMEOUT, listener.listen(CHANNEL)).await?;
                Ok(Changes::Notified(Box::new(listener)))
            }
        }
    }
}

impl Db {
    /// The versions of these sessions, of any owner. Leaves out sessions that do not exist.
    pub async fn session_versions(&self, ids: &[SessionId]) -> Result<Vec<(SessionId, u64)>> {
        let mut versions = Vec::with_capacity(ids.len());
        for ids in ids.chunks(MAX_IDS) {
            let read = || {
                let select = upload_session::Entity::find().select_only();
                let select = select.columns([upload_session::Column::Id, upload_session::Column::Version]);
                let select = select.filter(upload_session::COLUMN.id.is_in(ids.iter().map(|id| id.0)));
                select.into_tuple::<(Uuid, i64)>().all(&self.read)
            };
            for (id, version) in retry_transient(read).await? {
                versions.push((SessionId(id), rows::version(SessionId(id), version)?));
            }
        }
        Ok(versions)
    }
}

impl Changes {
    /// Waits for the next change. After an error, changes may have been missed: the caller must call [`Db::changes`]
    /// again.
    pub async fn next(&mut self) -> Result<Change> {
        match self {
            Self::Polled(observe, seen, ticks) => loop {
                ticks.tick().await;
                let now = data_version(observe).await?;
                if seen.replace(now) != Some(now) {
                    return Ok(Change::Any);
                }
            },
            // `None` means that the listener has reconnected; it may have missed notifications.
            Self::Notified(listener) => loop {
                match tokio::time::timeout(TEST_AFTER, listener.try_recv()).await {
                    Ok(received) => {
                        return Ok(received?.map_or(Change::Any, |notification| parse(notification.payload())));
                    }
                    // No notification arrives on a dead connection either, so test it.
                    Err(_) => within(PING_TIMEOUT, (**listener).execute("SELECT 1")).await.map(drop)?,
                }
            },
        }
    }
}

/// A number that changes with every commit to the SQLite database, by this process or another one. SQLite does not
/// count the commits of the connection that asks, so that connection must never write.
async fn data_version(connection: &DatabaseConnection) -> Result<i64> {
    let statement = Statement::from_string(DbBackend::Sqlite, "PRAGMA data_version");
    let row = connection.query_one_raw(statement).await?;
    let row = row.ok_or_else(|| DbErr::RecordNotFound("PRAGMA data_version".to_owned()))?;
    Ok(row.try_get_by_index(0)?)
}

/// Parses what [`announce`] sends. A node of an earlier version sends no owner.
fn parse(payload: &str) -> Change {
    let mut fields = payload.split(' ');
    let mut session = || {
        let (id, version, owner) = (fields.next()?, fields.next()?, fields.next()?);
        Some(Change::Session(SessionId(id.parse().ok()?), version.parse().ok()?, OwnerName::parse(owner)?))
    };
    session().unwrap_or(Change::Any)
}

/// Announces that the transaction changes a session: to the states in memory, and on PostgreSQL, when it commits, to all nodes.
pub(super) async fn announce(tx: &Transaction, session: &Session) -> Result<()> {
    tx.changes(session.id);
    if tx.get_database_backend() == DbBackend::Postgres {
        let payload = format!("{} {} {}", session.id.0, session.version, session.owner);
        let values = [CHANNEL.into(), payload.into()];
        let statement = Statement::from_sql_and_values(DbBackend::Postgres, "SELECT pg_notify($1, $2)", values);
        tx.execute_raw(statement).await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_notification_names_the_session_and_its_owner() {
        let (id, owner) = (SessionId::generate(), OwnerName::parse("auth0|5f7c").unwrap());
        assert_eq!(parse(&format!("{} 7 {owner}", id.0)), Change::Session(id, 7, owner));
        for other in ["", "x", &format!("{} 7", id.0), &format!("{} x ann", id.0)] {
            assert_eq!(parse(other), Change::Any, "{other}");
        }
    }
}

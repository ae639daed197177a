//! Learning that sessions have changed, by this server or another on the same database.
//!
//! Owns the two ways of it. SQLite has a version of the whole file, which the server reads ten times a second; to learn
//! which sessions changed, it reads their versions. PostgreSQL notifies: the transaction that changes a session sends its
//! id and version with its commit, and one connection listens.

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
use crate::domain::{Session, SessionId};

const CHANNEL: &str = "partway_session";
const POLL_INTERVAL: Duration = Duration::from_millis(100);
/// After this time without a notification the connection is tested.
const QUIET: Duration = Duration::from_secs(5);

/// Most sessions in one statement.
const IDS_AT_ONCE: usize = 500;

/// Where changes come from.
#[derive(Clone)]
pub(super) enum ChangeSource {
    /// On a connection that never writes.
    Sqlite(DatabaseConnection),
    /// On a connection that each watch opens.
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

/// What is known of a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// This session has this version now.
    Session(SessionId, u64),
    /// Any session may have changed.
    Any,
}

/// The changes from now on.
#[derive(Debug)]
pub enum Changes {
    /// Reads the database's version again and again.
    Polled(DatabaseConnection, Option<i64>, Interval),
    /// Listens for notifications.
    Notified(Box<PgListener>),
}

impl Db {
    /// Begins to watch. Changes before this returns may be missed.
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
    /// The versions of these sessions, of any owner, without those that do not exist.
    pub async fn session_versions(&self, ids: &[SessionId]) -> Result<Vec<(SessionId, u64)>> {
        let mut versions = Vec::with_capacity(ids.len());
        for ids in ids.chunks(IDS_AT_ONCE) {
            let asked = || {
                let asked = upload_session::Entity::find().select_only();
                let asked = asked.columns([upload_session::Column::Id, upload_session::Column::Version]);
                let asked = asked.filter(upload_session::COLUMN.id.is_in(ids.iter().map(|id| id.0)));
                asked.into_tuple::<(Uuid, i64)>().all(&self.read)
            };
            for (id, version) in retry_transient(asked).await? {
                versions.push((SessionId(id), rows::version(SessionId(id), version)?));
            }
        }
        Ok(versions)
    }
}

impl Changes {
    /// Waits for the next change. After an error, changes may have been missed: watch again.
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
                match tokio::time::timeout(QUIET, listener.try_recv()).await {
                    Ok(told) => return Ok(told?.map_or(Change::Any, |notification| parse(notification.payload()))),
                    // A dead connection is as silent as one without notifications, so test it.
                    Err(_) => within(PING_TIMEOUT, (**listener).execute("SELECT 1")).await.map(drop)?,
                }
            },
        }
    }
}

/// A number that changes whenever the database does, by this process or another. The connection must be one that never
/// writes: a connection does not count its own changes.
async fn data_version(connection: &DatabaseConnection) -> Result<i64> {
    let statement = Statement::from_string(DbBackend::Sqlite, "PRAGMA data_version");
    let row = connection.query_one_raw(statement).await?;
    let row = row.ok_or_else(|| DbErr::RecordNotFound("PRAGMA data_version".to_owned()))?;
    Ok(row.try_get_by_index(0)?)
}

fn parse(payload: &str) -> Change {
    let parts = payload.split_once(' ').and_then(|(id, version)| Some((id.parse().ok()?, version.parse().ok()?)));
    parts.map_or(Change::Any, |(id, version)| Change::Session(SessionId(id), version))
}

/// Notifies all servers when the transaction commits.
pub(super) async fn notify(tx: &Transaction, session: &Session) -> Result<()> {
    if tx.get_database_backend() == DbBackend::Postgres {
        let payload = format!("{} {}", session.id.0, session.version);
        let values = [CHANNEL.into(), payload.into()];
        let statement = Statement::from_sql_and_values(DbBackend::Postgres, "SELECT pg_notify($1, $2)", values);
        tx.execute_raw(statement).await?;
    }
    Ok(())
}

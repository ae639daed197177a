//! Learning that sessions have changed, by this server or another on the same database.
//!
//! Owns the two ways of it. SQLite has a version of the whole file, which is asked for ten times a second; which sessions
//! changed is found out by asking for theirs. PostgreSQL notifies: the transaction that changes a session sends its id and
//! version with its commit, and one connection listens.

use std::{fmt, time::Duration};

use entity::upload_session;
use sea_orm::{
    ConnectionTrait, DatabaseConnection, DbBackend, EntityTrait, QueryFilter, QuerySelect, Statement,
    sqlx::{
        self, Executor,
        postgres::{PgConnectOptions, PgListener, PgPoolOptions},
    },
};
use tokio::time::{Interval, MissedTickBehavior};
use uuid::Uuid;

use super::{
    ACQUIRE_TIMEOUT, Db, Result, Transaction, again,
    health::{PING_TIMEOUT, Silent},
    rows, sqlite,
};
use crate::domain::{Session, SessionId};

const CHANNEL: &str = "partway_session";
const POLL_INTERVAL: Duration = Duration::from_millis(100);
/// How long PostgreSQL may have nothing to tell before it is asked whether it is still there.
const QUIET: Duration = Duration::from_secs(5);

/// Sessions in one statement.
const IDS_AT_ONCE: usize = 500;

/// How a database is watched.
#[derive(Clone)]
pub(super) enum Watched {
    /// On a connection that never writes.
    Sqlite(DatabaseConnection),
    /// On a connection that is made when somebody watches.
    Postgres(Box<PgConnectOptions>),
}

/// Hides the password.
impl fmt::Debug for Watched {
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
    /// Looks at the database's version.
    Polled(DatabaseConnection, Option<i64>, Interval),
    /// Is told.
    Notified(Box<PgListener>),
}

impl Db {
    /// Begins to watch. What changed before this returned may not be told.
    pub async fn changes(&self) -> Result<Changes> {
        match &self.watched {
            Watched::Sqlite(observe) => {
                let mut ticks = tokio::time::interval(POLL_INTERVAL);
                ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
                Ok(Changes::Polled(observe.clone(), None, ticks))
            }
            Watched::Postgres(target) => {
                let pool = PgPoolOptions::new().max_connections(1).acquire_timeout(ACQUIRE_TIMEOUT);
                let pool = pool.connect_lazy_with((**target).clone());
                let mut listener = PgListener::connect_with(&pool).await?;
                in_time(listener.listen(CHANNEL)).await?;
                Ok(Changes::Notified(Box::new(listener)))
            }
        }
    }
}

impl Db {
    /// The versions of those of these sessions that exist, of any owner: nothing else is read when something may have
    /// changed.
    pub async fn session_versions(&self, ids: &[SessionId]) -> Result<Vec<(SessionId, u64)>> {
        let mut versions = Vec::with_capacity(ids.len());
        for ids in ids.chunks(IDS_AT_ONCE) {
            let asked = || {
                let asked = upload_session::Entity::find().select_only();
                let asked = asked.columns([upload_session::Column::Id, upload_session::Column::Version]);
                let asked = asked.filter(upload_session::COLUMN.id.is_in(ids.iter().map(|id| id.0)));
                asked.into_tuple::<(Uuid, i64)>().all(&self.read)
            };
            for (id, version) in again(asked).await? {
                versions.push((SessionId(id), rows::version(SessionId(id), version)?));
            }
        }
        Ok(versions)
    }
}

impl Changes {
    /// Waits for the next change. After an error, what happened may have been missed and watching has to begin anew.
    pub async fn next(&mut self) -> Result<Change> {
        match self {
            Self::Polled(observe, seen, ticks) => loop {
                ticks.tick().await;
                let now = sqlite::data_version(observe).await?;
                if seen.replace(now) != Some(now) {
                    return Ok(Change::Any);
                }
            },
            // Without a notification the connection was lost and is there again: something may have been missed.
            Self::Notified(listener) => loop {
                match tokio::time::timeout(QUIET, listener.try_recv()).await {
                    Ok(told) => return Ok(told?.map_or(Change::Any, |notification| parse(notification.payload()))),
                    // A connection whose other end is gone is as quiet as one on which nothing happens.
                    Err(_) => in_time((**listener).execute("SELECT 1")).await.map(drop)?,
                }
            },
        }
    }
}

async fn in_time<T>(work: impl Future<Output = Result<T, sqlx::Error>>) -> Result<T> {
    Ok(tokio::time::timeout(PING_TIMEOUT, work).await.unwrap_or_else(|_| Err(Silent.into()))?)
}

fn parse(payload: &str) -> Change {
    let parts = payload.split_once(' ').and_then(|(id, version)| Some((id.parse().ok()?, version.parse().ok()?)));
    parts.map_or(Change::Any, |(id, version)| Change::Session(SessionId(id), version))
}

/// Tells the other servers, if and when the transaction commits.
pub(super) async fn notify(tx: &Transaction, session: &Session) -> Result<()> {
    if tx.get_database_backend() == DbBackend::Postgres {
        let payload = format!("{} {}", session.id.0, session.version);
        let values = [CHANNEL.into(), payload.into()];
        let statement = Statement::from_sql_and_values(DbBackend::Postgres, "SELECT pg_notify($1, $2)", values);
        tx.execute_raw(statement).await?;
    }
    Ok(())
}

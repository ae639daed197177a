//! Connections that reads of one row keep between them.
//!
//! Owns which read holds a connection, and for how long. After every use sqlx's pool asks the database whether the
//! connection is still well, in a task of its own: another trip to the database for each read, more than a quarter of
//! what a status cost. One that is kept is used for no longer than a second before it goes back, and goes back as soon
//! as a statement fails on it or is given up, so that all the pool's rules hold as before, only not for every single
//! read.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use sea_orm::{
    DatabaseConnection, DbBackend,
    sqlx::{self, Database, Pool, Postgres, Sqlite, pool::PoolConnection},
};
use tokio::sync::{Semaphore, SemaphorePermit};

use super::ACQUIRE_TIMEOUT;

/// How long a connection is used before it goes back to the pool.
const KEPT_FOR: Duration = Duration::from_secs(1);

/// Those of the database in use.
#[derive(Clone, Debug)]
pub(super) enum Readers {
    Sqlite(Arc<Kept<Sqlite>>),
    Postgres(Arc<Kept<Postgres>>),
}

impl Readers {
    /// Gives back all that are kept.
    pub(super) fn clear(&self) {
        match self {
            Self::Sqlite(kept) => kept.idle().clear(),
            Self::Postgres(kept) => kept.idle().clear(),
        }
    }

    pub(super) fn new(read: &DatabaseConnection) -> Self {
        match read.get_database_backend() {
            DbBackend::Postgres => Self::Postgres(Kept::new(read.get_postgres_connection_pool())),
            _ => Self::Sqlite(Kept::new(read.get_sqlite_connection_pool())),
        }
    }
}

/// Up to half of a pool's connections; the others are left to who reads more.
#[derive(Debug)]
pub(super) struct Kept<DB: Database> {
    pool: Pool<DB>,
    most: usize,
    places: Semaphore,
    idle: Mutex<Vec<Taken<DB>>>,
}

#[derive(Debug)]
struct Taken<DB: Database> {
    connection: PoolConnection<DB>,
    at: Instant,
}

impl<DB: Database> Taken<DB> {
    fn may_be_kept(&self) -> bool {
        self.at.elapsed() < KEPT_FOR
    }
}

impl<DB: Database> Kept<DB> {
    fn new(pool: &Pool<DB>) -> Arc<Self> {
        let most = pool.options().get_max_connections() as usize / 2;
        let places = Semaphore::new(most.max(1));
        Arc::new(Self { pool: pool.clone(), most, places, idle: Mutex::default() })
    }

    /// A connection for one statement.
    pub(super) async fn take(&self) -> Result<Reader<'_, DB>, sqlx::Error> {
        let place = tokio::time::timeout(ACQUIRE_TIMEOUT, self.places.acquire()).await;
        let place = place.map_err(|_| sqlx::Error::PoolTimedOut)?.map_err(|_| sqlx::Error::PoolClosed)?;
        let kept = self.idle().pop().filter(Taken::may_be_kept);
        let taken = match kept {
            Some(kept) => kept,
            None => Taken { connection: self.pool.acquire().await?, at: Instant::now() },
        };
        Ok(Reader { kept: self, taken: Some(taken), _place: place })
    }

    fn idle(&self) -> MutexGuard<'_, Vec<Taken<DB>>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A connection in use. Dropped without [`Reader::keep`], it and all that are kept go back: what broke one breaks others.
#[derive(Debug)]
pub(super) struct Reader<'a, DB: Database> {
    kept: &'a Kept<DB>,
    taken: Option<Taken<DB>>,
    _place: SemaphorePermit<'a>,
}

impl<DB: Database> Reader<'_, DB> {
    pub(super) fn connection(&mut self) -> Result<&mut DB::Connection, sqlx::Error> {
        let taken = self.taken.as_mut();
        taken.map(|taken| &mut *taken.connection).ok_or(sqlx::Error::PoolClosed)
    }

    /// The statement did well: the next one may have the connection.
    pub(super) fn keep(mut self) {
        let mut idle = self.kept.idle();
        if let Some(taken) = self.taken.take().filter(Taken::may_be_kept)
            && idle.len() < self.kept.most
        {
            idle.push(taken);
        }
    }
}

impl<DB: Database> Drop for Reader<'_, DB> {
    fn drop(&mut self) {
        if self.taken.take().is_some() {
            self.kept.idle().clear();
        }
    }
}

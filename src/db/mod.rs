//! SQL, through sea-orm.
//!
//! Owns connections, transactions and statements, and turns rows into checked domain values. Decides nothing: a rule
//! that depends on what a row says is handed in by the service as a closure over the domain value, and runs inside the
//! transaction. Knows nothing of bytes or protocols.
//!
//! SQLite has one writer at a time. So there are two pools: one connection that writes, for which requests queue fairly
//! instead of polling for a lock, and several that read and, in WAL mode, never wait for the writer.

mod check;
mod files;
mod parts;
mod rows;
mod sessions;
mod tokens;

use std::{
    fs::OpenOptions,
    os::unix::fs::OpenOptionsExt,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

pub use check::{CheckedPage, Disagreement};
use migration::{Migrator, MigratorTrait};
pub use rows::CorruptRow;
use sea_orm::{
    ConnectOptions, ConnectionTrait, Database, DatabaseConnection, DatabaseTransaction, DbBackend, DbErr, RuntimeErr,
    SqliteTransactionMode, Statement, TransactionOptions, TransactionTrait,
    sqlx::Connection,
    sqlx::sqlite::{SqliteJournalMode, SqliteSynchronous},
};
pub use sessions::{Created, ListFilter, NewSession, Recorded, SessionPage};
pub use tokens::{NewToken, TokenRecord};

/// Connections that read; each is a thread that SQLite runs on.
const READERS: u32 = 8;
/// How long a write waits for another process, such as `partway token create`.
const BUSY_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a request waits for a connection.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(10);

/// The database.
#[derive(Clone, Debug)]
pub struct Db {
    read: DatabaseConnection,
    write: DatabaseConnection,
    /// One connection that never writes: it sees every change as somebody else's.
    observe: DatabaseConnection,
    statements: Arc<AtomicU64>,
}

/// What can go wrong with the database.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The database refused or cannot be reached.
    #[error(transparent)]
    Sql(#[from] DbErr),
    /// A row makes no sense.
    #[error(transparent)]
    Corrupt(#[from] CorruptRow),
}

impl Error {
    /// Whether the same request may succeed later: no connection in time, a lock, a full disk.
    pub fn is_unavailable(&self) -> bool {
        match self {
            Self::Sql(DbErr::ConnectionAcquire(_) | DbErr::Conn(_)) => true,
            Self::Sql(DbErr::Exec(RuntimeErr::SqlxError(error)) | DbErr::Query(RuntimeErr::SqlxError(error))) => {
                // SQLite's primary result codes are the low byte: BUSY 5, LOCKED 6, IOERR 10, FULL 13.
                let code = error.as_database_error().and_then(|error| error.code());
                let primary = code.and_then(|code| code.parse::<i32>().ok()).map(|code| code & 0xff);
                matches!(primary, Some(5 | 6 | 10 | 13))
            }
            _ => false,
        }
    }
}

/// The result of a statement.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Db {
    /// Opens the SQLite database in this file, creating it where there is none. Does not migrate.
    pub async fn open(file: &Path) -> Result<Self> {
        // SQLite would make it with the umask's mode, and its companions with the file's.
        let mut options = OpenOptions::new();
        let made = options.create(true).truncate(false).write(true).mode(0o600).open(file);
        made.map_err(|error| DbErr::Custom(error.to_string()))?;
        let statements = Arc::new(AtomicU64::new(0));
        // The writer first: it creates the file and switches it to WAL.
        let write = connect(file, 1, &statements).await?;
        let read = connect(file, READERS, &statements).await?;
        let observe = connect(file, 1, &Arc::default()).await?;
        Ok(Self { read, write, observe, statements })
    }

    /// Brings the schema up to what this binary needs.
    pub async fn migrate(&self) -> Result<()> {
        Ok(Migrator::up(&self.write, None).await?)
    }

    /// Whether the database answers.
    pub async fn ping(&self) -> Result<()> {
        Ok(self.read.ping().await?)
    }

    /// A number that changes whenever anything in the database does, by this process or another.
    pub async fn data_version(&self) -> Result<i64> {
        let statement = Statement::from_string(DbBackend::Sqlite, "PRAGMA data_version");
        let row = self.observe.query_one_raw(statement).await?;
        let row = row.ok_or_else(|| DbErr::RecordNotFound("PRAGMA data_version".to_owned()))?;
        Ok(row.try_get_by_index(0)?)
    }

    /// How many statements have been run.
    pub fn statements(&self) -> u64 {
        self.statements.load(Ordering::Relaxed)
    }

    /// A transaction that will write: IMMEDIATE, since one that starts by reading is refused when it comes to write.
    async fn begin(&self) -> Result<DatabaseTransaction> {
        let mode = Some(SqliteTransactionMode::Immediate);
        Ok(self
            .write
            .begin_with_options(TransactionOptions { sqlite_transaction_mode: mode, ..Default::default() })
            .await?)
    }
}

async fn connect(file: &Path, connections: u32, statements: &Arc<AtomicU64>) -> Result<DatabaseConnection> {
    let file = file.to_owned();
    let mut options = ConnectOptions::new("sqlite:");
    options
        .max_connections(connections)
        .min_connections(1)
        .acquire_timeout(ACQUIRE_TIMEOUT)
        .idle_timeout(None)
        .max_lifetime(None)
        // A local file does not go away between two uses.
        .test_before_acquire(false)
        .sqlx_logging(false)
        // On a full disk SQLite rolls back by itself; sqlx's own rollback then fails and it goes on to believe in a
        // transaction, within which every later commit would be a mere savepoint. Such a connection is thrown away.
        .map_sqlx_sqlite_before_acquire(|connection, _| Box::pin(async move { Ok(!connection.is_in_transaction()) }))
        .map_sqlx_sqlite_opts(move |options| {
            options
                // Not through the URL, in which `%` and `?` mean something.
                .filename(&file)
                .create_if_missing(true)
                .journal_mode(SqliteJournalMode::Wal)
                // FULL: a commit is on the disk before it is acknowledged. NORMAL could lose it with the power.
                .synchronous(SqliteSynchronous::Full)
                .busy_timeout(BUSY_TIMEOUT)
                .foreign_keys(true)
        });
    let mut connection = Database::connect(options).await?;
    let statements = Arc::clone(statements);
    connection.set_metric_callback(move |_| {
        statements.fetch_add(1, Ordering::Relaxed);
    });
    Ok(connection)
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::domain::{Clock, OwnerName, Sha256Digest, SystemClock};

    async fn create_token(db: &Db) -> Result<()> {
        let id = Uuid::now_v7();
        let owner = OwnerName::parse("ann").unwrap();
        let hash = Sha256Digest::of(id.as_bytes());
        let (name, created_at) = ("x".repeat(2_000), SystemClock.now());
        let tx = db.begin().await?;
        let token = NewToken { id, owner, name, hash, created_at, expires_at: None };
        tokens::insert(&token, &tx).await?;
        tx.commit().await?;
        Ok(())
    }

    /// Found on a full disk: after one failed transaction the server acknowledged everything and kept nothing.
    #[tokio::test]
    async fn after_a_full_disk_what_is_committed_is_kept() {
        let folder = tempfile::tempdir().unwrap();
        let db = Db::open(&folder.path().join("a.db")).await.unwrap();
        db.migrate().await.unwrap();
        // The limit is of the connection; a new one has room again.
        db.write.execute_unprepared("PRAGMA max_page_count = 1").await.unwrap();
        let mut kept = 0;
        let refused = loop {
            match create_token(&db).await {
                Ok(()) => kept += 1,
                Err(refused) => break refused,
            }
        };
        assert!(refused.is_unavailable(), "{refused}");
        for _ in 0..5 {
            if create_token(&db).await.is_ok() {
                kept += 1;
            }
        }
        assert_eq!(db.tokens().await.unwrap().len(), kept, "a reader sees all that was committed, and nothing else");
        assert!(kept >= 4, "there was room again");
    }
}

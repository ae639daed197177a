//! Opening SQLite: one file, one writer.
//!
//! Owns the settings of its connections. One connection writes at a time; requests queue for their turn in `turns`, instead of
//! polling for a lock. The other connections read, and in WAL mode never wait for the writer.

use std::{fs::OpenOptions, os::unix::fs::OpenOptionsExt, path::Path, time::Duration};

use sea_orm::{ConnectOptions, ConnectionTrait, Database, DatabaseConnection, DbBackend, DbErr};
use sqlx::{
    ConnectOptions as _, Connection,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous},
};

use super::{
    Db, Result,
    changes::ChangeSource,
    count_statements,
    pools::{Pool, Pools, Source},
    read_pool::{ReadPool, Target},
    snapshots::Snapshots,
    whole_transaction::WholeWriter,
};
use crate::metrics::DbMetrics;

/// The number of connections for reads. sqlx runs each on its own thread.
const READERS: u32 = 4;
/// The number of connections for reads of one session.
const LOOKUPS: u32 = 4;
/// Maximum time that a write waits for another process, such as `partway token create`.
const BUSY_TIMEOUT: Duration = Duration::from_secs(10);

impl Db {
    /// Opens the SQLite database in this file. Creates the file if it is missing. Does not migrate.
    pub async fn open_sqlite(file: &Path) -> Result<Self> {
        // Only the server's user may read it. SQLite would create the file with the mode of the umask. It creates the
        // files of its write-ahead log with the mode of this file.
        let mut options = OpenOptions::new();
        let opened = options.create(true).truncate(false).write(true).mode(0o600).open(file);
        opened.map_err(|error| DbErr::Custom(error.to_string()))?;
        Self::connect_to(file, &connect_options(file).create_if_missing(true).journal_mode(SqliteJournalMode::Wal))
            .await
    }

    /// Opens the SQLite database in this file to read it, and changes nothing in it. If a killed server has left a write-ahead log,
    /// the log stays as it is: the last connection that may write would move it into the database file.
    pub async fn open_sqlite_to_read(file: &Path) -> Result<Self> {
        let mut log = file.as_os_str().to_owned();
        log.push("-wal");
        let has_log = Path::new(&log).exists();
        // Without a log, connections that may write remove the one that they create.
        Self::connect_to(file, &connect_options(file).pragma("query_only", "ON").read_only(has_log)).await
    }

    async fn connect_to(file: &Path, options: &SqliteConnectOptions) -> Result<Self> {
        let metrics = DbMetrics::default();
        // Open the writer first: it switches the file to WAL mode.
        let write = count_statements(connect(options, 1).await?, &metrics);
        let read = count_statements(connect(options, READERS).await?, &metrics);
        let observe = connect(options, 1).await?;
        let lookups = ReadPool::new(Target::Sqlite(Box::new(options.clone())), LOOKUPS, read.clone());
        let pools = Pools::new(Pool::new(read, write, lookups, None), Source::Sqlite);
        let (changes, whole_writer) = (ChangeSource::Sqlite(observe), WholeWriter::new(options.clone()));
        Ok(Self::new(pools, 1, changes, Snapshots::of_file(file), Some(whole_writer), metrics))
    }
}

impl Db {
    /// Moves everything from the write-ahead log into the database file, so that a copy of that file alone is complete.
    /// Does nothing on PostgreSQL.
    pub async fn checkpoint(&self) -> Result<()> {
        if self.write.get_database_backend() == DbBackend::Sqlite {
            self.write.execute_unprepared("PRAGMA wal_checkpoint(TRUNCATE)").await?;
        }
        Ok(())
    }

    /// Closes all connections. When the last one closes, SQLite moves its write-ahead log into the database file. Waits
    /// at most 3 seconds; the end of the process closes the remaining connections.
    pub async fn close(&self) {
        let pool = self.pools.current();
        let close = async {
            pool.lookups.close().await;
            let _ = pool.read.close_by_ref().await;
            if let ChangeSource::Sqlite(observe) = &self.change_source {
                let _ = observe.close_by_ref().await;
            }
            let _ = pool.write.close_by_ref().await;
            if let Some(writer) = &self.whole_writer {
                writer.close().await;
            }
        };
        if tokio::time::timeout(super::ACQUIRE_TIMEOUT, close).await.is_err() {
            tracing::warn!("the database is still in use; the server stops without closing it");
        }
    }
}

async fn connect(options: &SqliteConnectOptions, connections: u32) -> Result<DatabaseConnection> {
    Ok(Box::pin(Database::connect(pool_options(options, connections))).await?)
}

fn pool_options(connect_options: &SqliteConnectOptions, connections: u32) -> ConnectOptions {
    let connect_options = connect_options.clone();
    let mut options = ConnectOptions::new("sqlite:");
    options
        .max_connections(connections)
        .min_connections(1)
        .acquire_timeout(super::ACQUIRE_TIMEOUT)
        .idle_timeout(None)
        .max_lifetime(None)
        // Connections to a local file need no test.
        .test_before_acquire(false)
        .sqlx_logging(false)
        // If the disk is full, SQLite rolls back by itself. sqlx's own rollback then fails, and sqlx still counts an
        // open transaction: every later commit would only release a savepoint. So drop such a connection.
        .map_sqlx_sqlite_before_acquire(|connection, _| Box::pin(async move { Ok(!connection.is_in_transaction()) }))
        .map_sqlx_sqlite_opts(move |_| connect_options.clone());
    options
}

fn connect_options(file: &Path) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        // The path is not passed in a URL, because `%` and `?` are special there.
        .filename(file)
        // FULL: a commit is on disk before the server acknowledges it. With NORMAL, a power cut could lose it.
        .synchronous(SqliteSynchronous::Full)
        .busy_timeout(BUSY_TIMEOUT)
        .foreign_keys(true)
        .disable_statement_logging()
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::db::{NewToken, tokens};
    use crate::domain::{Clock, OwnerName, SystemClock, TokenHash};

    async fn create_token(db: &Db) -> Result<()> {
        let id = Uuid::now_v7();
        let owner = OwnerName::parse("ann").unwrap();
        let hash = TokenHash::of(&id.to_string());
        let (name, created_at) = ("x".repeat(2_000), SystemClock.now());
        let tx = db.begin(None).await?;
        let token = NewToken { id, owner, name, hash, created_at, expires_at: None };
        tokens::insert(&token, &tx).await?;
        tx.commit().await?;
        Ok(())
    }

    /// A bug on a full disk: after one failed transaction, the server acknowledged all later commits and stored none of
    /// them.
    #[tokio::test]
    async fn after_a_full_disk_the_database_keeps_later_commits() {
        let folder = tempfile::tempdir().unwrap();
        let db = Db::open_sqlite(&folder.path().join("a.db")).await.unwrap();
        db.migrate().await.unwrap();
        // The limit belongs to this connection. A new connection has none.
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
        assert_eq!(db.tokens().await.unwrap().len(), kept, "a reader sees exactly the committed rows");
        assert!(kept >= 4, "later transactions succeed on a new connection");
    }
}

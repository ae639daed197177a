//! SQL, through sea-orm.
//!
//! Owns connections, transactions and statements, and turns rows into checked domain values. Decides nothing: a rule
//! that depends on what a row says is handed in by the service as a closure over the domain value, and runs inside the
//! transaction. Knows nothing of bytes or protocols.
//!
//! SQLite and PostgreSQL differ in how they are opened (`sqlite`, `postgres`), migrated and watched; the statements
//! are the same.

mod changes;
mod check;
mod error;
mod files;
mod migrate;
mod part_claims;
mod parts;
mod postgres;
mod rows;
mod sessions;
mod sqlite;
mod sweep;
mod tokens;

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

pub use changes::{Change, Changes};
pub use check::{CheckedPage, Disagreement};
use error::again;
pub use error::{Error, Result};
pub use part_claims::PartClaim;
pub use rows::CorruptRow;
use sea_orm::{
    ConnectOptions, Database, DatabaseConnection, DatabaseTransaction, SqliteTransactionMode, TransactionOptions,
    TransactionTrait,
};
pub use sessions::{Created, ListFilter, NewSession, Recorded, SessionPage};
pub use tokens::{NewToken, TokenRecord};

/// How long a request waits for a connection.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(5);

/// The database.
#[derive(Clone, Debug)]
pub struct Db {
    read: DatabaseConnection,
    write: DatabaseConnection,
    watched: changes::Watched,
    statements: Arc<AtomicU64>,
}

impl Db {
    /// Whether the database answers.
    pub async fn ping(&self) -> Result<()> {
        Ok(self.read.ping().await?)
    }

    /// How many statements have been run.
    pub fn statements(&self) -> u64 {
        self.statements.load(Ordering::Relaxed)
    }

    /// A transaction that will write: on SQLite IMMEDIATE, since one that starts by reading is refused when it comes to
    /// write. On PostgreSQL it reads what is committed when each statement begins.
    async fn begin(&self) -> Result<DatabaseTransaction> {
        let mode = Some(SqliteTransactionMode::Immediate);
        Ok(self
            .write
            .begin_with_options(TransactionOptions { sqlite_transaction_mode: mode, ..Default::default() })
            .await?)
    }
}

async fn connect(options: ConnectOptions, statements: &Arc<AtomicU64>) -> Result<DatabaseConnection> {
    let mut connection = Database::connect(options).await?;
    let statements = Arc::clone(statements);
    connection.set_metric_callback(move |_| {
        statements.fetch_add(1, Ordering::Relaxed);
    });
    Ok(connection)
}

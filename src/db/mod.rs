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
mod instance;
mod migrate;
mod part_claims;
mod parts;
mod postgres;
mod prepared;
mod readers;
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
    ConnectOptions, ConnectionTrait, Database, DatabaseConnection, DatabaseTransaction, DbErr, EntityTrait,
    SqliteTransactionMode, TransactionOptions, TransactionTrait,
};
pub use sessions::{Created, ListFilter, NewPart, NewSession, Recorded, SessionPage};
pub use tokens::{NewToken, TokenRecord};

/// How long a request waits for a connection.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(5);

/// The database.
#[derive(Clone, Debug)]
pub struct Db {
    read: DatabaseConnection,
    write: DatabaseConnection,
    watched: changes::Watched,
    prepared: prepared::Prepared,
    readers: readers::Readers,
    statements: Arc<AtomicU64>,
}

impl Db {
    fn new(
        read: DatabaseConnection,
        write: DatabaseConnection,
        watched: changes::Watched,
        statements: Arc<AtomicU64>,
    ) -> Self {
        let prepared = prepared::Prepared::new(read.get_database_backend());
        let readers = readers::Readers::new(&read);
        Self { read, write, watched, prepared, readers, statements }
    }

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

/// The row of a select that finds one at most. `one()` would say so with a bound LIMIT, for which SQLite plans the
/// statement anew at every use: measured, that is half of all that a status read costs.
async fn only<E: EntityTrait>(
    select: sea_orm::Select<E>,
    connection: &impl ConnectionTrait,
) -> Result<Option<E::Model>, DbErr> {
    Ok(select.all(connection).await?.pop())
}

async fn connect(options: ConnectOptions, statements: &Arc<AtomicU64>) -> Result<DatabaseConnection> {
    let mut connection = Database::connect(options).await?;
    let statements = Arc::clone(statements);
    connection.set_metric_callback(move |_| {
        statements.fetch_add(1, Ordering::Relaxed);
    });
    Ok(connection)
}

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
mod forget_parts;
mod health;
mod instance;
mod list;
mod migrate;
mod part_leases;
mod parts;
mod pools;
mod postgres;
mod read_pool;
mod recording;
mod rows;
mod session_read;
mod sessions;
mod sqlite;
mod sweep;
mod tokens;
mod turns;
mod unreadable;

use std::{sync::Arc, time::Duration};

use changes::ChangeSource;
pub use changes::{Change, Changes};
pub use check::CheckedUpload;
pub use error::{Error, LockWait, Result};
pub use part_leases::PartLease;
use pools::{Connection, Pools, Transaction};
use prometheus_client::metrics::counter::Counter;
pub use recording::{NewPart, Recorded};
pub use rows::CorruptRow;
use sea_orm::{ConnectionTrait, DatabaseConnection, DbErr, EntityTrait, TransactionOptions};
pub use sessions::Created;
pub use tokens::{NewToken, TokenRecord};
pub use unreadable::EndedUnreadable;

use crate::domain::OwnerName;

/// How long a request waits for a connection.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(3);

/// The database.
#[derive(Clone, Debug)]
pub struct Db {
    pools: Arc<Pools>,
    read: Connection,
    write: Connection,
    change_source: ChangeSource,
    session_statements: session_read::Statements,
    statements: Counter,
}

impl Db {
    /// Over these pools, up to `writers` of whose connections write.
    fn new(pools: Arc<Pools>, writers: u32, change_source: ChangeSource, statements: Counter) -> Self {
        let (read, write) = (Connection::reading(&pools), Connection::writing(&pools, writers));
        let session_statements = session_read::Statements::new(read.get_database_backend());
        Self { pools, read, write, change_source, session_statements, statements }
    }

    /// Whether the database answers.
    pub async fn ping(&self) -> Result<()> {
        Ok(self.read.ping().await?)
    }

    /// Counts the statements that are run.
    pub fn statements(&self) -> &Counter {
        &self.statements
    }

    /// A transaction that will write, in an owner's turn or in the server's. On PostgreSQL it reads what is committed when
    /// each statement begins.
    async fn begin(&self, owner: Option<&OwnerName>) -> Result<Transaction> {
        let options = TransactionOptions::default();
        Ok(match owner {
            Some(owner) => self.write.of(owner).begin(options).await?,
            None => self.write.begin(options).await?,
        })
    }
}

/// The row of a select that finds one at most. sea-orm's `one()` adds a bound LIMIT, for which SQLite prepares the
/// statement again at every use: that took half the time of a status read.
async fn at_most_one<E: EntityTrait>(
    select: sea_orm::Select<E>,
    connection: &impl ConnectionTrait,
) -> Result<Option<E::Model>, DbErr> {
    Ok(select.all(connection).await?.pop())
}

fn count_statements(mut connection: DatabaseConnection, statements: &Counter) -> DatabaseConnection {
    let statements = statements.clone();
    connection.set_metric_callback(move |_| {
        statements.inc();
    });
    connection
}

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
mod part_claims;
mod parts;
mod pools;
mod postgres;
mod prepared;
mod readers;
mod recording;
mod rows;
mod sessions;
mod sqlite;
mod sweep;
mod tokens;
mod turns;
mod unreadable;

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

pub use changes::{Change, Changes};
pub use check::CheckedSession;
use error::again;
pub use error::{Error, Result};
pub use list::{ListFilter, SessionPage};
pub use part_claims::PartClaim;
use pools::{Connection, Pools, Transaction};
pub use recording::{NewPart, Recorded};
pub use rows::CorruptRow;
use sea_orm::{ConnectionTrait, DatabaseConnection, DbErr, EntityTrait, TransactionOptions};
pub use sessions::{Created, NewSession};
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
    watched: changes::Watched,
    prepared: prepared::Prepared,
    statements: Arc<AtomicU64>,
}

impl Db {
    /// Over these pools, up to `places` of whose connections write.
    fn new(pools: Arc<Pools>, places: u32, watched: changes::Watched, statements: Arc<AtomicU64>) -> Self {
        let (read, write) = (Connection::reading(&pools), Connection::writing(&pools, places));
        let prepared = prepared::Prepared::new(read.get_database_backend());
        Self { pools, read, write, watched, prepared, statements }
    }

    /// Whether the database answers.
    pub async fn ping(&self) -> Result<()> {
        Ok(self.read.ping().await?)
    }

    /// How many statements have been run.
    pub fn statements(&self) -> u64 {
        self.statements.load(Ordering::Relaxed)
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

/// The row of a select that finds one at most. `one()` would say so with a bound LIMIT, for which SQLite plans the
/// statement anew at every use: measured, that is half of all that a status read costs.
async fn only<E: EntityTrait>(
    select: sea_orm::Select<E>,
    connection: &impl ConnectionTrait,
) -> Result<Option<E::Model>, DbErr> {
    Ok(select.all(connection).await?.pop())
}

fn count_statements(mut connection: DatabaseConnection, statements: &Arc<AtomicU64>) -> DatabaseConnection {
    let statements = Arc::clone(statements);
    connection.set_metric_callback(move |_| {
        statements.fetch_add(1, Ordering::Relaxed);
    });
    connection
}

//! SQL, through sea-orm.
//!
//! Owns connections, transactions and statements, and converts rows to checked domain values. Does not own rules: those
//! are in `domain`. If a rule depends on a row, the service passes a closure over the domain value, and the closure
//! runs inside the transaction. Does not handle bytes or protocols.
//!
//! The statements are the same for SQLite and PostgreSQL. The two differ in how the server opens them (`sqlite`,
//! `postgres`), migrates them (`migrate`) and detects changes (`changes`).

mod accounts;
mod changes;
mod check;
mod check_accounts;
mod check_events;
mod dead_letters;
mod deliveries;
mod download_links;
mod error;
mod events;
mod files;
mod forget_parts;
mod health;
mod instance;
mod list;
mod list_ranges;
mod migrate;
mod move_rows;
mod move_source;
mod move_uploads;
mod moves;
mod node_lock;
mod part_leases;
mod part_removal;
mod parts;
mod pools;
mod postgres;
mod read_pool;
mod recording;
mod rows;
mod session_change;
mod session_read;
mod sessions;
mod small_files;
mod snapshots;
mod sqlite;
mod status;
mod sweep;
mod tokens;
mod transaction;
mod turns;
mod unreadable;
mod upload_tokens;
mod version_reads;
mod webhooks;
mod whole_transaction;

use std::{sync::Arc, time::Duration};

pub use accounts::NewLimit;
use changes::ChangeSource;
pub use changes::{Change, Changes};
pub use check::CheckedUpload;
pub use check_accounts::WrongAccount;
pub use dead_letters::{DeadDelivery, DeliveryCounts};
pub use deliveries::{Attempt, LeasedDelivery};
pub use download_links::{NewDownloadLink, ValidDownloadLink};
pub use error::{Error, LockWait, Result};
pub use events::EventPage;
pub use move_rows::{CopiedRows, RowChanges};
pub use move_uploads::{MoveUpload, MovedTail};
pub use moves::MoveState;
pub use node_lock::ExclusiveUse;
pub use part_leases::PartLease;
use pools::{Connection, Pools};
pub use recording::{NewPart, Recorded};
pub use rows::CorruptRow;
use sea_orm::{ConnectionTrait, DatabaseConnection, DbErr, EntityTrait, TransactionOptions};
pub use sessions::Created;
pub use small_files::SmallFile;
use snapshots::Snapshots;
pub use status::{DbStatus, EventBacklog, PoolStatus};
pub use tokens::{NewToken, TokenRecord, ValidToken};
use transaction::Transaction;
pub use unreadable::EndedUnreadable;
pub use upload_tokens::{NewUploadToken, ValidUploadToken};

use crate::{domain::OwnerName, metrics::DbMetrics};

/// Maximum time that a request waits for a connection.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(3);

/// The database.
#[derive(Clone, Debug)]
pub struct Db {
    pools: Arc<Pools>,
    read: Connection,
    write: Connection,
    change_source: ChangeSource,
    session_statements: session_read::Statements,
    /// States of sessions in memory.
    snapshots: Snapshots,
    /// Executes transactions as one command. `None` on PostgreSQL.
    whole_writer: Option<whole_transaction::WholeWriter>,
    /// Reads of versions that run together.
    version_reads: version_reads::VersionReads,
    metrics: DbMetrics,
    /// Lets one request of this node at a time assign positions to events.
    numbering: Arc<tokio::sync::Mutex<()>>,
}

impl Db {
    /// Uses these pools. At most `writers` connections write at the same time.
    fn new(
        pools: Arc<Pools>,
        writers: u32,
        change_source: ChangeSource,
        snapshots: Snapshots,
        whole_writer: Option<whole_transaction::WholeWriter>,
        metrics: DbMetrics,
    ) -> Self {
        let (read, write) = (Connection::reading(&pools), Connection::writing(&pools, writers, &snapshots, &metrics));
        let session_statements = session_read::Statements::new(read.get_database_backend());
        let version_reads = version_reads::VersionReads::new(&pools, &metrics);
        let numbering = Arc::default();
        Self {
            pools,
            read,
            write,
            change_source,
            session_statements,
            snapshots,
            whole_writer,
            version_reads,
            metrics,
            numbering,
        }
    }

    /// Checks that the database answers.
    pub async fn ping(&self) -> Result<()> {
        Ok(self.read.ping().await?)
    }

    /// Closes connections that were idle for too long. Only those of reads of one session: sqlx's pools do it themselves.
    pub async fn close_idle(&self) {
        self.pools.current().lookups.close_idle().await;
    }

    /// What the database counts.
    pub fn metrics(&self) -> &DbMetrics {
        &self.metrics
    }

    /// Begins a transaction for writing. Waits for a turn to write in this owner's queue, or in the server's queue if
    /// `owner` is `None`; see `turns`. On PostgreSQL the isolation level is READ COMMITTED.
    async fn begin(&self, owner: Option<&OwnerName>) -> Result<Transaction> {
        let options = TransactionOptions::default();
        Ok(match owner {
            Some(owner) => self.write.of(owner).begin(options).await?,
            None => self.write.begin(options).await?,
        })
    }
}

/// Runs a select that matches at most one row. This replaces sea-orm's `one()`, which adds a LIMIT with a bound
/// parameter: SQLite prepares such a statement again for each use, and that took half the time of a status read.
async fn at_most_one<E: EntityTrait>(
    select: sea_orm::Select<E>,
    connection: &impl ConnectionTrait,
) -> Result<Option<E::Model>, DbErr> {
    Ok(select.all(connection).await?.pop())
}

fn count_statements(mut connection: DatabaseConnection, metrics: &DbMetrics) -> DatabaseConnection {
    let counter = metrics.statements.clone();
    connection.set_metric_callback(move |_| {
        counter.inc();
    });
    connection
}

#[cfg(test)]
mod plans;

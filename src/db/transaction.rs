//! Transactions.
//!
//! Owns their begin and their end, also if the caller stops waiting, and what a transaction holds: its turn to write, and the locks
//! of the accounts that it changes. Does not own the connections: those are in `pools`.

use std::{sync::Arc, time::Duration};

use parking_lot::Mutex;
use sea_orm::{
    ConnectionTrait, DatabaseConnection, DatabaseTransaction, DbBackend, DbErr, ExecResult, QueryResult, Statement,
    TransactionOptions, TransactionTrait,
};
use tracing::Instrument;

use super::{
    Result,
    pools::Pool,
    snapshots::{Changing, Snapshots},
    turns::Turn,
};
use crate::{
    domain::{OwnerName, Session, SessionId},
    owner_locks::{OwnerLock, OwnerLocks},
};

/// Maximum time that a transaction waits for other transactions of this node that change the same account. With the default number of
/// connections, it is enough for one transaction on each. After it, the transaction waits for the row in PostgreSQL; only that lock
/// makes the account exact. If PostgreSQL does not answer, all requests notice it at almost the same time.
const ACCOUNT_WAIT: Duration = Duration::from_millis(500);

/// A transaction. Each of its statements has a time-out. Dropping it before [`commit`](Self::commit) rolls it back.
#[derive(Debug)]
pub(super) struct Transaction {
    tx: DatabaseTransaction,
    pool: Arc<Pool>,
    snapshots: Snapshots,
    /// The sessions that it changes.
    changing: Mutex<Vec<Changing>>,
    accounts: Arc<OwnerLocks>,
    /// The owners whose accounts it changes, with their locks if it got them in time.
    locked: Mutex<Vec<(OwnerName, Option<OwnerLock>)>>,
    turn: Option<Turn>,
}

impl Transaction {
    /// Begins a transaction on this connection of the pool. It keeps the turn until it ends.
    ///
    /// The BEGIN runs to its end even if the caller stops waiting. sqlx does not roll back a BEGIN that was abandoned: later requests
    /// would write in that transaction on PostgreSQL, and lose what they have acknowledged.
    pub(super) async fn begin(
        connection: DatabaseConnection,
        pool: Arc<Pool>,
        options: TransactionOptions,
        snapshots: Snapshots,
        accounts: Arc<OwnerLocks>,
        turn: Option<Turn>,
    ) -> Result<Self, DbErr> {
        run_to_its_end(async move {
            let tx = pool.bounded(Box::pin(connection.begin_with_options(options))).await?;
            Ok(Self { tx, pool, snapshots, changing: Mutex::default(), accounts, locked: Mutex::default(), turn })
        })
        .await
    }

    /// Says that this transaction changes the session's row or its file's row. Must be called before the commit for each
    /// change that a reader of the session's state can see; see `snapshots`.
    pub(super) fn changes(&self, id: SessionId) {
        self.changing.lock().push(self.snapshots.begin_change(id));
    }

    /// Says that this transaction has stored this session, and leaves its file's row as it is. The call to
    /// [`changes`](Self::changes) came before.
    pub(super) fn stores(&self, session: &Session) {
        if let Some(changing) = self.changing.lock().iter_mut().find(|changing| changing.id() == session.id) {
            changing.stores(session);
        }
    }

    /// Waits until no other transaction of this node changes the account of this owner, but at most [`ACCOUNT_WAIT`].
    ///
    /// PostgreSQL has a queue for a locked row too, but a statement leaves it after the `lock_timeout`, and its next attempt goes to
    /// the end of the queue. If all requests of an owner waited there, most attempts would fail. So normally only one request of
    /// each node waits there.
    pub(super) async fn lock_account(&self, owner: &OwnerName) {
        if self.locked.lock().iter().all(|(locked, _)| locked != owner) {
            let lock = tokio::time::timeout(ACCOUNT_WAIT, self.accounts.lock(owner)).await.ok();
            self.locked.lock().push((owner.clone(), lock));
        }
    }

    /// Commits. After an error, the transaction may or may not be committed. A commit that has begun runs to its end even if
    /// the caller stops waiting: until then, the sessions are marked as changing.
    pub(super) async fn commit(self) -> Result<(), DbErr> {
        let Self { tx, pool, changing, locked, turn, .. } = self;
        let commit = async move {
            let committed = pool.bounded(Box::pin(tx.commit())).await;
            let mut changing = changing.into_inner();
            if committed.is_ok() {
                changing.iter_mut().for_each(Changing::committed);
            }
            drop((changing, locked, turn));
            committed
        };
        run_to_its_end(commit).await
    }
}

/// Runs this in a task of its own, so that it continues if the caller stops waiting.
pub(super) async fn run_to_its_end<T, E>(work: impl Future<Output = Result<T, E>> + Send + 'static) -> Result<T, E>
where
    T: Send + 'static,
    E: From<DbErr> + Send + 'static,
{
    let failed = |failed: tokio::task::JoinError| Err(DbErr::Custom(failed.to_string()).into());
    tokio::spawn(work.in_current_span()).await.unwrap_or_else(failed)
}

#[async_trait::async_trait]
impl ConnectionTrait for Transaction {
    fn get_database_backend(&self) -> DbBackend {
        self.tx.get_database_backend()
    }

    async fn execute_raw(&self, statement: Statement) -> Result<ExecResult, DbErr> {
        self.pool.bounded(self.tx.execute_raw(statement)).await
    }

    async fn execute_unprepared(&self, sql: &str) -> Result<ExecResult, DbErr> {
        self.pool.bounded(self.tx.execute_unprepared(sql)).await
    }

    async fn query_one_raw(&self, statement: Statement) -> Result<Option<QueryResult>, DbErr> {
        self.pool.bounded(self.tx.query_one_raw(statement)).await
    }

    async fn query_all_raw(&self, statement: Statement) -> Result<Vec<QueryResult>, DbErr> {
        self.pool.bounded(self.tx.query_all_raw(statement)).await
    }
}

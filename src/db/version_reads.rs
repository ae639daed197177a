//! Reads of the versions of sessions, many in one statement.
//!
//! Owns the task that executes these statements. The reads that arrive while a statement is under way share the next one. So under
//! load, a status on PostgreSQL costs a fraction of a round trip. The statement of a read begins after the read was asked for, so
//! the version is not older than any commit before that. Does not own the states of these versions: those are in `snapshots`.

use std::{collections::HashMap, sync::Arc};

use tokio::sync::{mpsc, oneshot};
use uuid::Uuid;

use super::{Error, Result, error::retry_transient, pools::Pools, rows};
use crate::{
    domain::{OwnerName, SessionId},
    metrics::DbMetrics,
};

/// The largest number of sessions in one statement.
const MAX_IDS: usize = 500;
/// `ANY` takes all ids as one parameter, so there is one text, and PostgreSQL prepares it once for each connection.
const VERSIONS: &str = "SELECT id, owner, version FROM upload_session WHERE id = ANY($1)";

/// The result for one session: its owner and its version.
type Found = Result<Option<(String, i64)>, Arc<Error>>;

/// A read that waits for a statement.
type Read = (SessionId, oneshot::Sender<Found>);

/// The reads of versions on PostgreSQL.
#[derive(Clone, Debug)]
pub(super) struct VersionReads(mpsc::UnboundedSender<Read>);

struct Reader {
    pools: Arc<Pools>,
    metrics: DbMetrics,
}

impl VersionReads {
    /// Starts the task that reads. It ends with the last clone of the returned value.
    ///
    /// A read does not execute the statement itself, because it may be part of a stream, which is not polled while its client does
    /// not read. All other reads would wait for it.
    pub(super) fn new(pools: &Arc<Pools>, metrics: &DbMetrics) -> Self {
        let (sender, mut waiting) = mpsc::unbounded_channel();
        let reader = Arc::new(Reader { pools: Arc::clone(pools), metrics: metrics.clone() });
        tokio::spawn(async move {
            let mut reads = Vec::new();
            while waiting.recv_many(&mut reads, MAX_IDS).await > 0 {
                let (reader, reads) = (Arc::clone(&reader), std::mem::take(&mut reads));
                // In a task of its own, so that a panic ends only these reads.
                let _ = tokio::spawn(async move { reader.answer(reads).await }).await;
            }
        });
        Self(sender)
    }

    /// The version of the owner's session, by one statement for all reads that wait.
    pub(super) async fn version(&self, owner: &OwnerName, id: SessionId) -> Result<Option<u64>> {
        let (sender, found) = oneshot::channel();
        let stopped = || sea_orm::DbErr::Custom("the task that reads the version has ended".to_owned());
        self.0.send((id, sender)).map_err(|_| stopped())?;
        let found = found.await.map_err(|_| stopped())?.map_err(Error::Shared)?;
        let own = found.filter(|(found, _)| found == owner.as_str());
        Ok(own.map(|(_, version)| rows::version(id, version)).transpose()?)
    }
}

impl Reader {
    async fn answer(&self, reads: Vec<Read>) {
        let ids: Vec<Uuid> = reads.iter().map(|(id, _)| id.0).collect();
        let found = self.read(&ids).await.map_err(Arc::new);
        for (id, sender) in reads {
            // Sending fails if the read was cancelled.
            let _ = sender.send(match &found {
                Ok(found) => Ok(found.get(&id.0).cloned()),
                Err(error) => Err(Arc::clone(error)),
            });
        }
    }

    async fn read(&self, ids: &[Uuid]) -> Result<HashMap<Uuid, (String, i64)>> {
        let read: Vec<(Uuid, String, i64)> = retry_transient(|| async {
            self.metrics.statements.inc();
            let pools = self.pools.current();
            pools.bounded(Box::pin(pools.lookups.fetch_by_ids(VERSIONS, ids))).await
        })
        .await?;
        Ok(read.into_iter().map(|(id, owner, version)| (id, (owner, version))).collect())
    }
}

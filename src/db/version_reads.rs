//! Reads of the versions of sessions, many in one statement.
//!
//! Owns the batches: the reads that arrive while a statement is under way share the next one. So under load, a status on
//! PostgreSQL costs a fraction of a round trip. The statement of a read begins after the read was asked for, so the version is not
//! older than any commit before that. Does not own the states of these versions: those are in `snapshots`.

use std::{collections::HashMap, sync::Arc};

use uuid::Uuid;

use super::{Error, Result, error::retry_transient, pools::Pools, rows};
use crate::{
    domain::{OwnerName, SessionId},
    group_commit::GroupCommit,
    metrics::DbMetrics,
};

/// The largest number of sessions in one statement.
const MAX_IDS: usize = 500;
/// `ANY` takes all ids as one parameter, so there is one text, and PostgreSQL prepares it once for each connection.
const VERSIONS: &str = "SELECT id, owner, version FROM upload_session WHERE id = ANY($1)";

/// The result for one session: its owner and its version.
type Found = Result<Option<(String, i64)>, Arc<Error>>;

/// The reads of versions on PostgreSQL.
#[derive(Clone, Debug)]
pub(super) struct VersionReads(Arc<Reads>);

#[derive(Debug)]
struct Reads {
    /// The reads that wait for a statement.
    waiting: GroupCommit<SessionId, Found>,
    pools: Arc<Pools>,
    metrics: DbMetrics,
}

impl VersionReads {
    pub(super) fn new(pools: &Arc<Pools>, metrics: &DbMetrics) -> Self {
        let (pools, metrics) = (Arc::clone(pools), metrics.clone());
        Self(Arc::new(Reads { waiting: GroupCommit::default(), pools, metrics }))
    }

    /// The version of the owner's session, by one statement for all reads that wait.
    pub(super) async fn version(&self, owner: &OwnerName, id: SessionId) -> Result<Option<u64>> {
        let reads = Arc::clone(&self.0);
        // In a task of its own: this future may be part of a stream, which is not polled while its client does not read. If it
        // ran the statement, all other reads would wait for it.
        let reading = tokio::spawn(async move { reads.waiting.run(id, |ids| reads.versions_of(ids)).await });
        let found = match reading.await {
            Ok(Some(found)) => found.map_err(Error::Shared)?,
            // The task that ran the statement has ended early.
            _ => self.0.versions_of(vec![id]).await.remove(0).map_err(Error::Shared)?,
        };
        let own = found.filter(|(found, _)| found == owner.as_str());
        Ok(own.map(|(_, version)| rows::version(id, version)).transpose()?)
    }
}

impl Reads {
    async fn versions_of(&self, ids: Vec<SessionId>) -> Vec<Found> {
        let mut found = Vec::with_capacity(ids.len());
        for ids in ids.chunks(MAX_IDS) {
            match self.read(ids).await {
                Ok(read) => found.extend(ids.iter().map(|id| Ok(read.get(&id.0).cloned()))),
                Err(error) => {
                    let error = Arc::new(error);
                    found.extend(ids.iter().map(|_| Err(Arc::clone(&error))));
                }
            }
        }
        found
    }

    async fn read(&self, ids: &[SessionId]) -> Result<HashMap<Uuid, (String, i64)>> {
        let ids: Vec<Uuid> = ids.iter().map(|id| id.0).collect();
        let read: Vec<(Uuid, String, i64)> = retry_transient(|| async {
            self.metrics.statements.inc();
            let pools = self.pools.current();
            pools.bounded(Box::pin(pools.lookups.fetch_by_ids(VERSIONS, &ids))).await
        })
        .await?;
        Ok(read.into_iter().map(|(id, owner, version)| (id, (owner, version))).collect())
    }
}

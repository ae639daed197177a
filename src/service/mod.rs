//! The use cases, one file each.
//!
//! Owns what Partway does: it puts the rules of the domain, the database and the bytes together, and is the only place
//! that does. Both protocols call the methods of [`Service`], so they cannot differ in meaning. Knows nothing of HTTP
//! or GraphQL. Every method that touches an owner's things takes the [`Principal`](crate::domain::Principal) first.

mod abort;
mod authenticate;
mod bind;
mod check;
mod claims;
mod create;
mod download;
mod events;
mod finalize;
mod limits;
mod list;
mod lost;
mod persist;
mod prefix_hash;
mod receive;
mod room;
mod send_again;
mod status;
mod store_errors;
mod sweep;
mod token;
mod watch;

use std::sync::Arc;

use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::Instrument;

pub use check::{CheckOptions, Finding, Report};
pub use create::{CreateSession, Creation};
pub use download::Content;
pub use finalize::DigestFields;
pub use limits::{FileSha256, Limits};
pub use receive::{BodyFault, Disposition, IncomingPart, Receipt};
pub use room::Room;
pub use sweep::Swept;
pub use token::{CreatedToken, Token};
pub use watch::SessionState;

use crate::{
    db::Db,
    domain::{Clock, Session},
    error::{Error, Result},
    metrics::Metrics,
    storage::Storage,
};

/// How long database and storage have to answer before they count as not reachable.
const READY_TIMEOUT: std::time::Duration = std::time::Duration::from_secs(8);

/// Runs these steps in a task of their own, so that they run to their end even if the request that began them is dropped:
/// a commit under way must not lose its claim, its log line or what follows it.
async fn run_detached<T: Send + 'static>(steps: impl Future<Output = Result<T>> + Send + 'static) -> Result<T> {
    match tokio::spawn(steps.in_current_span()).await {
        Ok(result) => result,
        Err(failed) if failed.is_cancelled() => Err(Error::unavailable("the server is stopping", failed)),
        Err(failed) => Err(Error::internal(failed)),
    }
}

/// Everything Partway can do.
pub struct Service {
    db: Db,
    storage: Arc<dyn Storage>,
    clock: Arc<dyn Clock>,
    limits: Limits,
    room: Arc<Room>,
    metrics: Arc<Metrics>,
    claims: claims::Claims,
    recording: persist::Recording,
    prefix_hashes: prefix_hash::PrefixHashes,
    tokens: authenticate::Tokens,
    watchers: watch::Watchers,
    stopping: CancellationToken,
    going_on: TaskTracker,
}

impl std::fmt::Debug for Service {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Service").finish_non_exhaustive()
    }
}

impl Service {
    /// A service over this database and these bytes.
    pub fn new(
        db: Db,
        storage: Arc<dyn Storage>,
        clock: Arc<dyn Clock>,
        limits: Limits,
        room: Room,
        metrics: Arc<Metrics>,
    ) -> Self {
        Self {
            db,
            storage,
            clock,
            limits,
            room: Arc::new(room),
            metrics,
            claims: claims::Claims::default(),
            recording: persist::Recording::default(),
            prefix_hashes: prefix_hash::PrefixHashes::default(),
            tokens: authenticate::Tokens::default(),
            watchers: watch::Watchers::default(),
            stopping: CancellationToken::new(),
            going_on: TaskTracker::new(),
        }
    }

    /// Whether everything can be taken: database and storage can be reached and have room.
    ///
    /// # Errors
    /// `UNAVAILABLE` if one of them cannot or has not.
    pub async fn ready(&self) -> Result<()> {
        self.reachable().await?;
        self.check_room(0).await
    }

    /// Whether database and storage can be reached.
    ///
    /// # Errors
    /// `UNAVAILABLE` if one of them cannot.
    pub async fn reachable(&self) -> Result<()> {
        let unreachable = "database or storage cannot be reached";
        let ready = async {
            self.db.ping().await.map_err(|error| Error::unavailable(unreachable, error))?;
            self.storage.ping().await.map_err(|error| Error::unavailable(unreachable, error))
        };
        // Who asks wants to know now.
        let in_time = tokio::time::timeout(READY_TIMEOUT, ready).await;
        in_time.unwrap_or_else(|late| Err(Error::unavailable(unreachable, late)))
    }

    /// Asks everything that would go on by itself to end: the server is about to stop.
    pub fn stop(&self) {
        self.stopping.cancel();
        self.going_on.close();
    }

    /// Waits until all that was asked to end has ended.
    pub async fn stopped(&self) {
        self.going_on.wait().await;
    }

    /// Leaves the database complete in its file and closes it; the last call before the process ends.
    pub async fn close(&self) {
        if let Err(error) = self.db.checkpoint().await {
            tracing::warn!(%error, "the write-ahead log was not moved into the database; keep it beside the database");
        }
        self.db.close().await;
    }

    /// Something that goes on by itself, such as a socket, and that a stopping server waits for.
    pub fn going_on<F: Future>(&self, task: F) -> impl Future<Output = F::Output> + use<F> {
        self.going_on.track_future(task)
    }

    /// Fires when the server is about to stop.
    pub fn stopping(&self) -> &CancellationToken {
        &self.stopping
    }

    /// Whether the SHA-256 of the whole file is computed even if nobody asks for it at finalize.
    fn hashes_file(&self, session: &Session) -> bool {
        self.limits.file_sha256 == FileSha256::Always || session.declared_sha256.is_some()
    }

    /// The counters.
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }
}

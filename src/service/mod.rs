//! The use cases, one file each.
//!
//! Owns the use cases: only this module combines the rules of the domain, the database and the storage. All protocols
//! call the methods of [`Service`], so a use case is the same in all of them. Does not own HTTP or GraphQL. The first
//! parameter of every method on an owner's sessions and files is the [`Principal`](crate::domain::Principal).

mod abort;
mod account;
mod append;
mod authenticate;
mod auto_finalize;
mod bind;
mod check;
mod claims;
mod create;
mod delete;
mod deliver;
mod digest_file;
mod download;
mod download_link;
mod downloads;
mod end;
mod events;
mod feed;
mod finalize;
mod gauges;
mod input;
mod limits;
mod list;
mod lost;
mod moving;
mod open_counts;
mod part_removal;
mod parts;
mod persist;
mod prefix_hash;
mod receive;
mod renew;
mod replay;
mod room;
mod scope;
mod send_again;
mod small_file;
mod status;
mod store;
mod store_errors;
mod sweep;
mod token;
mod upload_token;
mod watch;
mod webhooks;
mod whole_body;

use std::sync::Arc;

use tokio_util::task::TaskTracker;
use tracing::Instrument;

pub use crate::db::{EventPage, NewLimit};
pub use append::{Append, Appended};
pub use check::{CheckOptions, Finding, Report};
pub use create::{CreateSession, Creation};
pub use deliver::Delivered;
pub use download::Content;
pub use download_link::DownloadLink;
pub use feed::MAX_EVENTS_PAGE;
pub use finalize::DigestFields;
pub use input::{MAX_CONTENT_TYPE_BYTES, MAX_FILENAME_BYTES, UNNAMED};
pub use limits::{FileSha256, Limits};
pub use moving::{LeftBehind, MissingParts, MoveOptions, MoveOutcome, MovePlan, MoveProgress, MoveReport, MoveSource};
pub use open_counts::{OpenCounts, OpenPermit};
pub use receive::{BodyFault, Disposition, IncomingPart, Receipt};
pub use room::Room;
pub use sweep::Swept;
pub use token::{CreatedToken, Token};
pub use upload_token::UploadToken;
pub use watch::AnySessionState;
pub use webhooks::{ListedWebhook, Replay, WebhookTest};

use crate::{
    db::Db,
    domain::Clock,
    error::{Error, Result},
    identity::Jwt,
    metrics::Metrics,
    storage::Storage,
    webhooks::Sender,
};

/// Maximum time in which database and storage must answer.
const READY_TIMEOUT: std::time::Duration = std::time::Duration::from_secs(8);
/// Maximum time that the process waits for detached steps before it ends.
const CLOSE_TIMEOUT: std::time::Duration = std::time::Duration::from_secs(5);

/// The use cases of Partway.
pub struct Service {
    db: Db,
    storage: Arc<dyn Storage>,
    clock: Arc<dyn Clock>,
    limits: Limits,
    room: Arc<Room>,
    metrics: Arc<Metrics>,
    claims: claims::Claims,
    appends: append::Appends,
    recording: persist::Recording,
    small_files: small_file::SmallFiles,
    prefix_hashes: prefix_hash::PrefixHashes,
    digest_turns: digest_file::DigestTurns,
    tokens: authenticate::TokenCache,
    identity: Option<Jwt>,
    watchers: watch::Watchers,
    /// The streams that callers have open.
    streams: OpenCounts,
    downloads: downloads::Downloads,
    swept_to: sweep::SweptTo,
    deliveries: deliver::Deliveries,
    /// Steps that must run to their end.
    detached: TaskTracker,
}

impl std::fmt::Debug for Service {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Service").finish_non_exhaustive()
    }
}

impl Service {
    /// A service over this database and this storage.
    pub fn new(
        db: Db,
        storage: Arc<dyn Storage>,
        clock: Arc<dyn Clock>,
        limits: Limits,
        room: Room,
        metrics: Arc<Metrics>,
        sender: Sender,
    ) -> Self {
        Self {
            db,
            storage,
            clock,
            limits,
            room: Arc::new(room),
            metrics,
            claims: claims::Claims::default(),
            appends: append::Appends::default(),
            recording: persist::Recording::default(),
            small_files: small_file::SmallFiles::default(),
            prefix_hashes: prefix_hash::PrefixHashes::default(),
            digest_turns: digest_file::DigestTurns::default(),
            tokens: authenticate::TokenCache::default(),
            identity: None,
            watchers: watch::Watchers::default(),
            streams: OpenCounts::default(),
            downloads: downloads::Downloads::default(),
            swept_to: sweep::SweptTo::default(),
            deliveries: deliver::Deliveries::new(sender),
            detached: TaskTracker::new(),
        }
    }

    /// Also accepts the tokens of this identity provider.
    #[must_use]
    pub fn with_identity(self, identity: Option<Jwt>) -> Self {
        Self { identity, ..self }
    }

    /// Runs these steps in their own task, so that they run to their end even if the client disconnects and the request is
    /// dropped. Otherwise a commit under way could lose its claim, its log line and the steps after it.
    async fn run_detached<T: Send + 'static>(
        &self,
        steps: impl Future<Output = Result<T>> + Send + 'static,
    ) -> Result<T> {
        match self.detached.spawn(steps.in_current_span()).await {
            Ok(result) => result,
            Err(failed) if failed.is_cancelled() => Err(Error::unavailable("the server is stopping", failed)),
            Err(failed) => Err(Error::internal(failed)),
        }
    }

    /// Whether uploads can be accepted: database and storage answer and have free space.
    ///
    /// # Errors
    /// `UNAVAILABLE` if not.
    pub async fn ready(&self) -> Result<()> {
        self.reachable().await?;
        self.check_room(0).await
    }

    /// Whether database and storage answer.
    ///
    /// # Errors
    /// `UNAVAILABLE` if one of them does not, within 8 seconds.
    pub async fn reachable(&self) -> Result<()> {
        let unreachable = "database or storage cannot be reached";
        let ready = async {
            self.db.ping().await.map_err(|error| Error::unavailable(unreachable, error))?;
            self.storage.ping().await.map_err(|error| Error::unavailable(unreachable, error))
        };
        let in_time = tokio::time::timeout(READY_TIMEOUT, ready).await;
        in_time.unwrap_or_else(|late| Err(Error::unavailable(unreachable, late)))
    }

    /// Closes the database; the last call before the process ends. A SQLite database is then complete in its one file. Waits
    /// for the steps that run detached: a connection that the server has closed can leave bytes that must be recorded.
    pub async fn close(&self) {
        self.deliveries.stopping.cancel();
        self.detached.close();
        if tokio::time::timeout(CLOSE_TIMEOUT, self.detached.wait()).await.is_err() {
            tracing::warn!(tasks = self.detached.len(), "steps of requests have not ended");
        }
        if let Err(error) = self.db.checkpoint().await {
            tracing::warn!(%error, "cannot move the write-ahead log into the database file; keep the log beside it");
        }
        self.db.close().await;
    }

    /// The counters.
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }
}

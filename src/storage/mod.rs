//! Bytes: a folder on the local disk, or an object store.
//!
//! Owns where the bytes of a session are, how they become durable, and how they are read and freed. Does not own rows: the
//! service records a part in the database only after this module has made its bytes durable.

mod compare;
mod local;
mod object;

use std::{
    any::Any,
    error::Error as StdError,
    fmt, io,
    ops::Range,
    sync::Arc,
    time::{Duration, SystemTime},
};

use async_trait::async_trait;
use bytes::Bytes;
pub use compare::Compared;
use futures_util::stream::BoxStream;
pub use local::{LocalDisk, SyncParts};
pub use object::{ObjectStorage, PartSettings};
use rustix::io::Errno;
use sha2::Sha256;
use uuid::Uuid;

use crate::domain::{FileId, Part, PartRecord, Session, SessionId, Sha256Digest};

/// Stores the bytes of sessions: parts while a session is open, one file after [`complete`](Self::complete).
#[async_trait]
pub trait Storage: fmt::Debug + Send + Sync {
    /// Fails if the storage is not ready to use.
    async fn ping(&self) -> Result<()>;

    /// Whether several servers can write to this storage at once. If so, the storage keeps the last put of a part, and the
    /// service must ensure that only one server puts a part at a time.
    fn is_shared(&self) -> bool;

    /// The id that binds this storage to its database. `None` before the first start.
    async fn binding(&self) -> Result<Option<Uuid>>;

    /// Stores this id unless the storage already has one. Returns the stored id. Of several concurrent calls, one wins.
    async fn bind(&self, id: Uuid) -> Result<Uuid>;

    /// Replaces the stored id.
    async fn rebind(&self, id: Uuid) -> Result<()>;

    /// At most `MAX_SAMPLED_IDS` ids of sessions that have parts here, and as many ids of stored files. Empty only if the
    /// storage holds no bytes.
    async fn sample_ids(&self) -> Result<Vec<Uuid>>;

    /// Prepares for the first part of a session. Returns the upload id that the service must keep with the session, or
    /// `None` if this storage has no upload ids.
    async fn begin(&self, session: &Session) -> Result<Option<String>>;

    /// Undoes [`begin`](Self::begin). The service calls it if a concurrent request has kept another upload id.
    async fn abandon(&self, session: &Session, upload_id: &str) -> Result<()>;

    /// Starts to write a part. Waits for memory if necessary. The storage keeps `write_guard` until the last write has ended,
    /// and returns it in [`PersistedPart`] if the part becomes durable.
    async fn part_writer(&self, session: &Session, part: Part, write_guard: WriteGuard) -> Result<Box<dyn PartWriter>>;

    /// Turns the session's parts into a stored file and returns its location. `parts` must be all parts, in order. The call
    /// is idempotent: it can be repeated after a crash at any point, and several calls can run at once.
    async fn complete(&self, session: &Session, parts: &[PartRecord]) -> Result<String>;

    /// Frees a session's bytes, both parts and file.
    async fn discard(&self, session: &Session) -> Result<()>;

    /// Frees the parts of a session. Leaves a complete file in place.
    async fn discard_parts(&self, session: &Session) -> Result<()>;

    /// Feeds this range of a session's bytes to `hasher`, before or after completion. `None` if this storage can read the
    /// bytes only after completion.
    async fn hash(&self, session: &Session, hasher: Sha256, range: Range<u64>) -> Result<Option<Sha256>>;

    /// Feeds these consecutive parts of a session to `hasher` and compares each part with its digest. `None` if this storage
    /// can read the bytes only after completion.
    async fn compare(&self, session: &Session, hasher: Sha256, parts: &[PartRecord]) -> Result<Option<Compared>>;

    /// The last time that another process wrote to a session's bytes. `None` if only this server did, or if there are no
    /// bytes.
    async fn externally_modified_at(&self, session: &Session) -> Result<Option<SystemTime>>;

    /// Reads a range of a stored file. Fails with [`Error::Lost`] if the file is missing or its size is not `size_bytes`.
    async fn read(&self, location: &str, size_bytes: u64, range: Range<u64>) -> Result<ByteStream>;

    /// The sessions whose parts this storage can list. An object store lists none.
    async fn uploads(&self) -> Result<Vec<SessionId>>;

    /// Frees the parts of one session that [`uploads`](Self::uploads) returned.
    async fn discard_upload(&self, session: SessionId) -> Result<()>;

    /// Checks that an open session with parts still has its bytes, as parts or as a complete file. Looks only at what is
    /// cheap to see, such as a file's size. Fails with [`Error::Lost`] if the bytes are missing, which is also the case if
    /// the session has ended in the meantime.
    async fn check_upload(&self, session: &Session) -> Result<()>;

    /// The ids of all stored files.
    async fn stored_files(&self) -> Result<Vec<FileId>>;

    /// Checks that a stored file exists and has this size. Fails with [`Error::Lost`] otherwise.
    async fn check(&self, location: &str, size_bytes: u64) -> Result<()>;
}

/// Writes a part's bytes in order. The bytes are not durable before [`StagedPart::persist`] returns, so the server must not
/// acknowledge the part earlier.
#[async_trait]
pub trait PartWriter: Send {
    /// Appends bytes to the part. Waits while earlier bytes still have to be written.
    async fn push(&mut self, bytes: Bytes) -> Result<()>;

    /// Waits until all bytes are written or buffered.
    async fn finish(self: Box<Self>) -> Result<Box<dyn StagedPart>>;
}

/// A part whose bytes have all arrived but are not yet durable.
#[async_trait]
pub trait StagedPart: Send {
    /// The SHA-256 of the bytes.
    fn sha256(&self) -> Sha256Digest;

    /// Makes the bytes durable: after it returns, they survive a power failure.
    async fn persist(self: Box<Self>) -> Result<PersistedPart>;
}

/// A part whose bytes are durable.
#[derive(Debug)]
pub struct PersistedPart {
    /// The guard that was passed to [`Storage::part_writer`]. The service drops it after it has recorded the part.
    pub write_guard: WriteGuard,
    /// The object store's etag of the part. The service records it, and [`Storage::complete`] needs it.
    pub etag: Option<String>,
    /// The bytes, if they are still in memory and the storage cannot read them back before completion.
    pub bytes: Option<BufferedBytes>,
}

/// Bytes in memory. They count against the storage's memory budget until they are dropped.
#[derive(Debug)]
pub struct BufferedBytes {
    /// The bytes.
    pub bytes: Bytes,
    /// False if memory is scarce. The service should then drop the bytes soon.
    pub may_be_kept: bool,
    _memory: tokio::sync::OwnedSemaphorePermit,
}

/// Keeps a part claimed until its last write has ended, even if the request was cancelled before. The storage only holds and
/// drops it.
pub type WriteGuard = Arc<dyn Any + Send + Sync>;

/// The bytes of a stored file, as a stream.
pub type ByteStream = BoxStream<'static, io::Result<Bytes>>;

/// Why a storage operation failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The operating system returned an error.
    #[error("{action}")]
    Io {
        /// The operation, as a verb and its object.
        action: String,
        /// The operating system's error.
        source: io::Error,
    },
    /// The object store failed or did not answer. The request, or an earlier attempt of it, may still take effect.
    #[error("{action}")]
    Store {
        /// The operation, as a verb and its object.
        action: String,
        /// The last error.
        source: Box<dyn StdError + Send + Sync>,
    },
    /// The object store refused the request. The request has no effect.
    #[error("{action}")]
    Refused {
        /// The operation, as a verb and its object.
        action: String,
        /// The store's answer.
        source: Box<dyn StdError + Send + Sync>,
    },
    /// The part waited this long for memory and got none.
    #[error("no memory became free for the part within {0:?}")]
    MemoryTimeout(Duration),
    /// The object store has other bytes for these parts than the bytes that were recorded.
    #[error("the object store has other bytes for the parts {0:?} than the database recorded")]
    Replaced(Vec<u32>),
    /// Recorded bytes are missing or differ.
    #[error("{0}")]
    Lost(String),
}

impl Error {
    fn io(action: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let action = action.into();
        move |source| Self::Io { action, source }
    }

    /// Whether the process or the system had no free file descriptor. A later retry may succeed.
    pub fn is_out_of_descriptors(&self) -> bool {
        let Self::Io { source, .. } = self else { return false };
        matches!(Errno::from_io_error(source), Some(Errno::MFILE | Errno::NFILE))
    }

    /// Whether the object store answered with a failure, so that no attempt of the request can take effect later.
    pub fn is_definite(&self) -> bool {
        matches!(self, Self::Refused { .. } | Self::Lost(_))
    }

    /// Whether the disk or the quota is full. A later retry may succeed.
    pub fn is_full(&self) -> bool {
        let Self::Io { source, .. } = self else { return false };
        matches!(Errno::from_io_error(source), Some(Errno::NOSPC | Errno::DQUOT | Errno::FBIG))
    }
}

/// The result of a storage operation.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Runs blocking work on a thread of tokio's blocking pool.
async fn off_thread<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(failed) => Err(Error::Io { action: "run a file operation".to_owned(), source: io::Error::other(failed) }),
    }
}

/// Parses the content of the binding's file or object.
fn parse_binding(place: impl fmt::Display, text: &str) -> Result<Uuid> {
    text.trim().parse().map_err(|_| {
        let problem = "it contains no id; run `partway adopt` to write a new one";
        Error::io(format!("read {place}"))(io::Error::new(io::ErrorKind::InvalidData, problem))
    })
}

/// The name of the file or object that holds the binding.
const BINDING: &str = "partway.id";
/// Maximum number of ids that [`Storage::sample_ids`] returns of each kind.
const MAX_SAMPLED_IDS: usize = 100;

fn expect_size(what: impl fmt::Display, found: u64, size_bytes: u64) -> Result<()> {
    if found == size_bytes {
        return Ok(());
    }
    Err(Error::Lost(format!("{what} has {found} bytes, but the database recorded {size_bytes}")))
}

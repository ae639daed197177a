//! Bytes: a folder on the local disk, or an object store.
//!
//! Owns where the bytes of a session lie, how they get there durably, and how they are read and freed. Knows no rows and
//! no protocol: it is told what to write and trusts the service to record it only afterwards.

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

/// A place for bytes. A session's bytes are its parts at first, and one file when it is complete.
#[async_trait]
pub trait Storage: fmt::Debug + Send + Sync {
    /// Whether it can be reached.
    async fn ping(&self) -> Result<()>;

    /// Whether several servers can write to it at once. Then a part is put whole, the last one put is the one that is
    /// kept, and it is up to the service that only one is.
    fn is_shared(&self) -> bool;

    /// The id that binds this storage to its database; `None` before the first start.
    async fn binding(&self) -> Result<Option<Uuid>>;

    /// Keeps this id if there is none yet; answers the one that is kept. Of several at once, one wins.
    async fn bind(&self, id: Uuid) -> Result<Uuid>;

    /// Replaces the id.
    async fn rebind(&self, id: Uuid) -> Result<()>;

    /// The ids of some sessions and files whose bytes are here; none only if there are no bytes.
    async fn some_ids(&self) -> Result<Vec<Uuid>>;

    /// Prepares for the first part of a session. Answers the id that the service is to keep with the session; `None` if
    /// there is nothing to keep.
    async fn begin(&self, session: &Session) -> Result<Option<String>>;

    /// Undoes [`begin`](Self::begin) when another request's id was kept.
    async fn abandon(&self, session: &Session, upload_id: &str) -> Result<()>;

    /// Begins to take a part, waiting for memory if need be. `held` is dropped when nothing will be written any more.
    async fn part_writer(&self, session: &Session, part: Part, held: Held) -> Result<Box<dyn PartWriter>>;

    /// Makes the session's bytes a stored file; answers where it is. `parts` are all of them, in order. Can be repeated
    /// after a crash at any point, and by several at once.
    async fn complete(&self, session: &Session, parts: &[PartRecord]) -> Result<String>;

    /// Frees a session's bytes, parts or file.
    async fn discard(&self, session: &Session) -> Result<()>;

    /// Frees the parts of a session, and leaves a complete file where it is.
    async fn discard_parts(&self, session: &Session) -> Result<()>;

    /// Feeds these bytes of a session to `hasher`, whether it is complete or not. `None` if they can be read only when it
    /// is.
    async fn hash(&self, session: &Session, hasher: Sha256, range: Range<u64>) -> Result<Option<Sha256>>;

    /// The same with these consecutive parts of a session, each compared with its digest. `None` as above.
    async fn compare(&self, session: &Session, hasher: Sha256, parts: &[PartRecord]) -> Result<Option<Compared>>;

    /// When somebody else last wrote to a session's bytes; `None` if only this server did, or if they are not there.
    async fn changed_by_others(&self, session: &Session) -> Result<Option<SystemTime>>;

    /// Reads these bytes of a stored file that has `size_bytes`; [`Error::Lost`] if it has not.
    async fn read(&self, location: &str, size_bytes: u64, range: Range<u64>) -> Result<ByteStream>;

    /// The sessions whose parts can be found here without their rows. An object store does not list them.
    async fn uploads(&self) -> Result<Vec<SessionId>>;

    /// Frees the parts of one of [`uploads`](Self::uploads).
    async fn discard_upload(&self, session: SessionId) -> Result<()>;

    /// Checks that the bytes of an open session with parts are there, in parts or as a complete file, as far as that can be
    /// seen: [`Error::Lost`] if they are not, or if the session has ended in between.
    async fn check_upload(&self, session: &Session) -> Result<()>;

    /// The stored files.
    async fn stored_files(&self) -> Result<Vec<FileId>>;

    /// Checks that a stored file is there and has this size.
    async fn check(&self, location: &str, size_bytes: u64) -> Result<()>;
}

/// Takes a part's bytes in order. Nothing is durable, and nobody may be told so, before [`StagedPart::persist`].
#[async_trait]
pub trait PartWriter: Send {
    /// Takes the next bytes; waits while too many are in memory.
    async fn push(&mut self, bytes: Bytes) -> Result<()>;

    /// Waits until all bytes are taken.
    async fn finish(self: Box<Self>) -> Result<Box<dyn StagedPart>>;
}

/// A part whose bytes are all there, but not yet durable.
#[async_trait]
pub trait StagedPart: Send {
    /// The SHA-256 of the bytes.
    fn sha256(&self) -> Sha256Digest;

    /// Makes the bytes durable: when this returns, they survive a power cut.
    async fn persist(self: Box<Self>) -> Result<PersistedPart>;
}

/// A part that is durable.
#[derive(Debug)]
pub struct PersistedPart {
    /// What was given to [`Storage::part_writer`].
    pub held: Held,
    /// What the store answered, to be kept with the part for [`Storage::complete`].
    pub etag: Option<String>,
    /// The bytes, if they are still in memory and cannot be read back before the file is complete.
    pub bytes: Option<BufferedBytes>,
}

/// Bytes in memory, counted against the memory that may be used until they are dropped.
#[derive(Debug)]
pub struct BufferedBytes {
    /// The bytes.
    pub bytes: Bytes,
    /// False if memory is scarce: then they should be dropped soon.
    pub may_be_kept: bool,
    _memory: tokio::sync::OwnedSemaphorePermit,
}

/// Kept alive until the last write of a part has ended, also when the request that began it is gone.
pub type Held = Arc<dyn Any + Send + Sync>;

/// A file's bytes as they are read.
pub type ByteStream = BoxStream<'static, io::Result<Bytes>>;

/// What can go wrong with the bytes.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The operating system refused.
    #[error("{action}")]
    Io {
        /// What was being done.
        action: String,
        /// What it answered.
        source: io::Error,
    },
    /// The object store refused or cannot be reached, after several tries.
    #[error("{action}")]
    Store {
        /// What was being done.
        action: String,
        /// What it answered.
        source: Box<dyn StdError + Send + Sync>,
    },
    /// The object store answered, and refused.
    #[error("{action}")]
    Refused {
        /// What was being done.
        action: String,
        /// What it answered.
        source: Box<dyn StdError + Send + Sync>,
    },
    /// Memory for a part did not come free in time.
    #[error("no memory for the part came free within {0:?}")]
    Crowded(Duration),
    /// The object store keeps other bytes of these parts than those that were recorded.
    #[error("the store keeps other bytes of the parts {0:?} than were recorded")]
    Replaced(Vec<u32>),
    /// Bytes that were recorded are not there, or are others.
    #[error("{0}")]
    Lost(String),
}

impl Error {
    fn io(action: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let action = action.into();
        move |source| Self::Io { action, source }
    }

    /// Whether there was no file descriptor left; trying again may help once there is.
    pub fn is_out_of_descriptors(&self) -> bool {
        let Self::Io { source, .. } = self else { return false };
        matches!(Errno::from_io_error(source), Some(Errno::MFILE | Errno::NFILE))
    }

    /// Whether the object store said no, so that nothing of the request is on its way any more.
    pub fn was_answered(&self) -> bool {
        matches!(self, Self::Refused { .. } | Self::Lost(_))
    }

    /// Whether there is no room left; trying again may help once there is.
    pub fn is_full(&self) -> bool {
        let Self::Io { source, .. } = self else { return false };
        matches!(Errno::from_io_error(source), Some(Errno::NOSPC | Errno::DQUOT | Errno::FBIG))
    }
}

/// The result of a storage operation.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Runs blocking work off the async threads.
async fn off_thread<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(failed) => Err(Error::Io { action: "run a file operation".to_owned(), source: io::Error::other(failed) }),
    }
}

/// Reads what a binding's file or object holds.
fn parse_binding(place: impl fmt::Display, text: &str) -> Result<Uuid> {
    text.trim().parse().map_err(|_| {
        let problem = "it holds no id; `partway adopt` writes a new one";
        Error::io(format!("read {place}"))(io::Error::new(io::ErrorKind::InvalidData, problem))
    })
}

/// Where a storage keeps its binding.
const BINDING: &str = "partway.id";
/// Most ids that [`Storage::some_ids`] answers for each kind.
const SOME: usize = 100;

fn expect_size(what: impl fmt::Display, found: u64, size_bytes: u64) -> Result<()> {
    if found == size_bytes {
        return Ok(());
    }
    Err(Error::Lost(format!("{what} has {found} bytes where {size_bytes} were recorded")))
}

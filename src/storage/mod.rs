//! Bytes: a folder on the local disk, or an object store.
//!
//! Owns where the bytes of a session are, how they become durable, and how they are read and freed. Does not own rows: the
//! service records a part in the database only after this module has made its bytes durable.

mod compare;
mod error;
mod local;
mod object;

use std::{
    any::Any,
    fmt, io,
    ops::Range,
    sync::Arc,
    time::{Duration, SystemTime},
};

use async_trait::async_trait;
use bytes::Bytes;
pub use compare::Compared;
pub use error::{Error, Result};
use futures_util::stream::BoxStream;
pub use local::{ArrivingFile, LocalDisk, SyncParts};
pub use object::{ObjectStorage, PartLimits, PartSettings};
use sha2::Sha256;
use uuid::Uuid;

use crate::domain::{Digests, FileId, MultipartUpload, OwnerName, Part, PartRecord, Session, SessionId};

/// Stores the bytes of sessions: parts while a session is open, one file after [`complete`](Self::complete).
#[async_trait]
pub trait Storage: fmt::Debug + Send + Sync {
    /// Fails if the storage is not ready to use.
    async fn ping(&self) -> Result<()>;

    /// The operations that only an object store has; `None` for a folder.
    fn as_multipart(&self) -> Option<&dyn MultipartStorage> {
        None
    }

    /// The operations that only a folder has; `None` for an object store.
    fn as_folder(&self) -> Option<&dyn FolderStorage> {
        None
    }

    /// The id that binds this storage to its database. `None` before the first start.
    async fn binding(&self) -> Result<Option<Uuid>>;

    /// Stores this id unless the storage already has one. Returns the stored id. Of several concurrent calls, only one
    /// stores its id.
    async fn bind(&self, id: Uuid) -> Result<Uuid>;

    /// Replaces the stored id.
    async fn rebind(&self, id: Uuid) -> Result<()>;

    /// At most `MAX_SAMPLED_IDS` ids of sessions that have parts here, and as many ids of stored files. Empty only if the
    /// storage holds no bytes.
    async fn sample_ids(&self) -> Result<Vec<Uuid>>;

    /// Starts to write a part, after the tail that the session has of it. Fails with [`Error::Lost`] if the tail is missing or
    /// has other bytes. Waits for memory if necessary. The storage keeps `write_guard` until the last write has ended,
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

    /// Feeds these consecutive parts of a session to `hasher` and compares each part with its digests. `None` if this storage
    /// can read the bytes only after completion.
    async fn compare(&self, session: &Session, hasher: Sha256, parts: &[PartRecord]) -> Result<Option<Compared>>;

    /// Reads a range of a session's bytes, before or after completion. `None` if this storage can read the bytes only after
    /// completion.
    async fn read_upload(&self, session: &Session, range: Range<u64>) -> Result<Option<ByteStream>>;

    /// Reads a range of a stored file. Fails with [`Error::Lost`] if the file is missing or its size is not `size_bytes`.
    async fn read(&self, location: &str, size_bytes: u64, range: Range<u64>) -> Result<ByteStream>;

    /// Checks that an open session with parts still has its bytes, as parts or as a complete file. Checks only what is
    /// cheap to check, such as a file's size. Fails with [`Error::Lost`] if the bytes are missing, which is also the
    /// case if the session has ended in the meantime.
    async fn check_upload(&self, session: &Session) -> Result<()>;

    /// Reads the tail of an open session. Fails with [`Error::Lost`] if it is missing or has other bytes.
    async fn check_tail(&self, session: &Session) -> Result<()>;

    /// The ids of all stored files.
    async fn stored_files(&self) -> Result<Vec<FileId>>;

    /// Checks that a stored file exists and has this size. Fails with [`Error::Lost`] otherwise.
    async fn check(&self, location: &str, size_bytes: u64) -> Result<()>;
}

/// A store that receives a session's parts in a multipart upload. Several nodes can put parts, and the store keeps the
/// last put of each part. So the service must ensure that only one node puts a part at a time.
#[async_trait]
pub trait MultipartStorage: Send + Sync {
    /// Starts the multipart upload of a session. The service must keep what it returns with the session.
    async fn start(&self, session: &Session) -> Result<MultipartUpload>;

    /// Which parts the store accepts.
    fn part_limits(&self) -> PartLimits;

    /// Makes the first parts of an open session readable by [`Storage::read`], as one file that has only these parts: completes its
    /// multipart upload with them. The session can get no more parts. The call can be repeated. Returns the location.
    async fn end_upload(&self, session: &Session, first_parts: &[PartRecord]) -> Result<String>;

    /// How many bytes of several parts one request may hold in memory at once.
    fn max_held_bytes(&self) -> u64;

    /// Waits until this many bytes of several parts may be held in memory. Requests that hold some wait for memory for more, so
    /// all of them together may hold only a part of the budget.
    async fn hold(&self, owner: &OwnerName, bytes: u64) -> Result<HeldMemory>;

    /// Deletes a tail that the database no longer refers to.
    async fn discard_tail(&self, location: &str) -> Result<()>;

    /// The sessions after this one, or the first ones, that have tails here, also tails that the database does not refer to: at most
    /// `limit`, in the order of their ids.
    async fn sessions_with_tails(&self, after: Option<SessionId>, limit: usize) -> Result<Vec<SessionId>>;

    /// Deletes all tails of a session that has ended.
    async fn discard_tails(&self, session: SessionId) -> Result<()>;

    /// Ends a multipart upload whose id the service did not keep, because a concurrent request had started another.
    async fn abandon(&self, session: &Session, upload_id: &str) -> Result<()>;
}

/// A folder of this server alone. It can list the parts that it has, and people can change them without the server's
/// knowledge.
#[async_trait]
pub trait FolderStorage: Send + Sync {
    /// The sessions that have parts here.
    async fn uploads(&self) -> Result<Vec<SessionId>>;

    /// The next of the sessions that have parts here: at most `limit`, in no order. Each call goes on where the last one stopped. A
    /// call that reaches the end returns fewer, and the next one begins again.
    async fn next_uploads(&self, limit: usize) -> Result<Vec<SessionId>>;

    /// Frees the parts of one of these sessions.
    async fn discard_upload(&self, session: SessionId) -> Result<()>;

    /// The last time that another process wrote to a session's bytes. `None` if only this server did, or if there are no
    /// bytes.
    async fn externally_modified_at(&self, session: &Session) -> Result<Option<SystemTime>>;

    /// Starts to receive a small file: one that arrives whole, in one request. Its first bytes create it.
    fn receive_file(&self, id: FileId) -> ArrivingFile;

    /// Makes a small file durable: after it returns, the file survives a power failure. Does not yet move it to its place.
    async fn persist_file(&self, arriving: &mut ArrivingFile) -> Result<PersistedFile>;

    /// Moves a durable small file to its place, after its row was committed. Does nothing if it was moved or discarded before.
    async fn keep_file(&self, id: FileId) -> Result<()>;

    /// Frees the bytes of a small file that gets no row.
    async fn discard_file(&self, arriving: ArrivingFile) -> Result<()>;

    /// The small files that are not at their place, and that no request of this process is storing.
    async fn abandoned_files(&self) -> Result<Vec<AbandonedFile>>;

    /// Frees the bytes of one of these files.
    async fn discard_abandoned(&self, id: FileId) -> Result<()>;
}

/// A small file whose bytes are durable.
#[derive(Debug)]
pub struct PersistedFile {
    /// The digests of its bytes.
    pub digests: Digests,
    /// Where [`Storage::read`] finds it.
    pub location: String,
}

/// A small file that no request is storing, but that is not at its place: its process or its request ended too early.
#[derive(Clone, Copy, Debug)]
pub struct AbandonedFile {
    /// Its id.
    pub id: FileId,
    /// The time since its last write.
    pub age: Duration,
}

/// Writes a part's bytes in order. The bytes are not durable before [`StagedPart::persist`] returns, so the server must not
/// acknowledge the part earlier.
#[async_trait]
pub trait PartWriter: Send {
    /// Appends bytes to the part. Waits while earlier bytes still have to be written.
    async fn push(&mut self, bytes: Bytes) -> Result<()>;

    /// Waits until all bytes are written or buffered. The part may be incomplete; it can then become a tail.
    async fn finish(self: Box<Self>) -> Result<Box<dyn StagedPart>>;
}

/// A part, or its first bytes, that has arrived but is not yet durable.
#[async_trait]
pub trait StagedPart: Send {
    /// The digests of the bytes, from the beginning of the part.
    fn digests(&self) -> Digests;

    /// Makes the whole part durable: after it returns, its bytes survive a power failure.
    async fn persist(self: Box<Self>) -> Result<PersistedPart>;

    /// Makes the first bytes of an incomplete part durable.
    async fn persist_as_tail(self: Box<Self>) -> Result<PersistedTail>;
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

/// A tail whose bytes are durable.
#[derive(Debug)]
pub struct PersistedTail {
    /// The guard that was passed to [`Storage::part_writer`]. The service drops it after it has recorded the tail.
    pub write_guard: WriteGuard,
    /// The object that holds the tail; `None` on a local disk.
    pub location: Option<String>,
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

/// The right to hold several parts in memory. The service drops it when it holds none.
pub type HeldMemory = Box<dyn Any + Send + Sync>;

/// Keeps a part claimed until its last write has ended, even if the request was cancelled before. The storage only holds and
/// drops it.
pub type WriteGuard = Arc<dyn Any + Send + Sync>;

/// The bytes of a stored file, as a stream.
pub type ByteStream = BoxStream<'static, io::Result<Bytes>>;

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

//! A storage that fails, or stops, at the step that a test names.
//!
//! It wraps a real storage, so all other steps really happen. A step that is blocked and never continues simulates a
//! server that was killed there: the test opens another server on the same database and bytes.

use std::{
    collections::HashMap,
    io,
    ops::Range,
    path::Path,
    sync::{Arc, Mutex},
    time::{Duration, SystemTime},
};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use partway::{
    domain::{Digests, FileId, MultipartUpload, OwnerName, Part, PartRecord, Session, SessionId},
    storage::{
        AbandonedFile, ArrivingFile, ByteStream, Compared, Error, FolderStorage, HeldMemory, LocalDisk,
        MultipartStorage, ObjectStorage, PartLimits, PartWriter, PersistedFile, PersistedPart, PersistedTail, Result,
        StagedPart, Storage, SyncParts, WriteGuard,
    },
};
use rustix::io::Errno;
use sha2::Sha256;
use tokio::sync::{Semaphore, watch};
use uuid::Uuid;

const MEMORY: u64 = 64 << 20;
/// Longer than every operation takes on a busy machine.
const LONGEST: Duration = Duration::from_mins(1);

/// A kind of storage, and its state that survives a server.
#[derive(Clone, Debug)]
pub(crate) enum Place {
    Folder,
    Objects {
        /// A store in this process's memory. It has the bytes.
        store: Arc<ObjectStorage>,
        memory_bytes: u64,
    },
}

impl Place {
    /// Each kind, empty.
    pub(crate) fn each() -> [Self; 2] {
        [Self::Folder, Self::objects()]
    }

    pub(crate) fn objects() -> Self {
        Self::objects_with(MEMORY)
    }

    /// An object store with this memory budget for parts.
    pub(crate) fn objects_with(memory_bytes: u64) -> Self {
        Self::Objects { store: Arc::new(ObjectStorage::in_memory(memory_bytes)), memory_bytes }
    }

    /// The same kind, empty.
    pub(super) fn empty_copy(&self) -> Self {
        match self {
            Self::Folder => Self::Folder,
            Self::Objects { memory_bytes, .. } => Self::objects_with(*memory_bytes),
        }
    }

    /// The storage as a server that starts now opens it.
    pub(super) fn open(&self, folder: &Path) -> Arc<dyn Storage> {
        match self {
            Self::Folder => Arc::new(LocalDisk::open(folder, SyncParts::Always).unwrap()),
            Self::Objects { store, .. } => Arc::clone(store) as Arc<dyn Storage>,
        }
    }
}

/// An operation of the storage.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Step {
    /// Writing the id of the database.
    Bind,
    Begin,
    PartWriter,
    Push,
    Finish,
    Persist,
    PersistAsTail,
    Complete,
    Discard,
    DiscardParts,
    Hash,
    Compare,
    /// Opening a stored file.
    Read,
    /// The bytes after the first ones of a stored file.
    ReadOn,
    /// Making a small file durable.
    PersistFile,
    /// Moving a small file to its place.
    KeepFile,
    /// Making the first parts of an upload readable.
    EndUpload,
}

/// Before or after a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum When {
    /// The storage does not execute the step.
    Before,
    /// The storage has executed the step, but its result is lost.
    After,
}

/// Why a step fails.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Cause {
    /// The disk is full.
    Full,
    /// The disk cannot read or write.
    Broken,
    /// The object store refused the request.
    Refused,
    /// The object store did not respond.
    Silent,
    /// The server panics.
    Panic,
}

impl Cause {
    fn error(self) -> Error {
        let action = "do what the test forbids".to_owned();
        match self {
            Self::Full => Error::Io { action, source: Errno::NOSPC.into() },
            Self::Broken => Error::Io { action, source: Errno::IO.into() },
            Self::Refused => Error::Refused { action, source: "quota exceeded".into() },
            Self::Silent => Error::Store { action, source: "no answer".into() },
            Self::Panic => panic!("the test injects a panic"),
        }
    }
}

/// The faults of one storage. It has none until a test sets one.
#[derive(Clone, Debug, Default)]
pub(crate) struct Faults {
    of_steps: Arc<Mutex<HashMap<(When, Step), Fault>>>,
    /// How many steps are left before all of them fail, and whether one has failed.
    left: Arc<Mutex<Option<(usize, bool)>>>,
    part_limits: Arc<Mutex<Option<PartLimits>>>,
}

#[derive(Clone, Debug)]
enum Fault {
    Fail(Cause),
    Hold { arrived: Arc<Semaphore>, verdict: watch::Receiver<Option<Verdict>> },
}

/// How a blocked step continues: with this error, or normally if `None`.
type Verdict = Option<Cause>;

/// A blocked step.
pub(crate) struct Gate {
    at: (When, Step),
    arrived: Arc<Semaphore>,
    verdict: watch::Sender<Option<Verdict>>,
}

impl Gate {
    /// Waits until a request is blocked here.
    pub(crate) async fn reached(&self) {
        let arrived = tokio::time::timeout(LONGEST, self.arrived.acquire()).await;
        arrived.unwrap_or_else(|_| panic!("no request reached {:?}", self.at)).unwrap().forget();
    }

    /// Lets the blocked requests and all later requests continue. A gate that is dropped without this call never opens.
    pub(crate) fn open(&self) {
        self.verdict.send_replace(Some(None));
    }

    /// Fails the blocked requests and all later requests.
    pub(crate) fn fail(&self, cause: Cause) {
        self.verdict.send_replace(Some(Some(cause)));
    }
}

impl Faults {
    pub(crate) fn over(&self, inner: Arc<dyn Storage>) -> Arc<dyn Storage> {
        Arc::new(FaultyStorage { inner, faults: self.clone() })
    }

    /// Makes the step fail from now on.
    pub(crate) fn fail(&self, when: When, step: Step, cause: Cause) {
        self.set(when, step, Fault::Fail(cause));
    }

    /// Blocks the step from now on.
    pub(crate) fn hold(&self, when: When, step: Step) -> Gate {
        let (arrived, (verdict, heard)) = (Arc::new(Semaphore::new(0)), watch::channel(None));
        self.set(when, step, Fault::Hold { arrived: Arc::clone(&arrived), verdict: heard });
        Gate { at: (when, step), arrived, verdict }
    }

    /// Makes all steps fail after this many: the beginning and the end of a step count as one each.
    pub(crate) fn fail_after(&self, steps: usize) {
        *self.left.lock().unwrap() = Some((steps, false));
    }

    /// Makes an object store accept only these parts. It does not enforce that.
    pub(crate) fn limit_parts(&self, limits: PartLimits) {
        *self.part_limits.lock().unwrap() = Some(limits);
    }

    /// Whether one has failed since.
    pub(crate) fn has_failed(&self) -> bool {
        self.left.lock().unwrap().is_some_and(|(_, has_failed)| has_failed)
    }

    /// Removes all faults.
    pub(crate) fn heal(&self) {
        self.of_steps.lock().unwrap().clear();
        *self.left.lock().unwrap() = None;
    }

    fn set(&self, when: When, step: Step, fault: Fault) {
        self.of_steps.lock().unwrap().insert((when, step), fault);
    }

    async fn meet(&self, when: When, step: Step) -> Result<()> {
        match &mut *self.left.lock().unwrap() {
            None => {}
            Some((0, has_failed)) => {
                *has_failed = true;
                return Err(Cause::Broken.error());
            }
            Some((left, _)) => *left -= 1,
        }
        let fault = self.of_steps.lock().unwrap().get(&(when, step)).cloned();
        match fault {
            None => Ok(()),
            Some(Fault::Fail(cause)) => Err(cause.error()),
            Some(Fault::Hold { arrived, mut verdict }) => {
                arrived.add_permits(1);
                let verdict = verdict.wait_for(Option::is_some).await.map(|verdict| verdict.flatten());
                match verdict {
                    Ok(cause) => cause.map_or(Ok(()), |cause| Err(cause.error())),
                    Err(_) => std::future::pending().await,
                }
            }
        }
    }

    /// Cuts bytes that are read, if [`Step::ReadOn`] fails.
    async fn cut(&self, bytes: ByteStream) -> ByteStream {
        if self.meet(When::Before, Step::ReadOn).await.is_ok() {
            return bytes;
        }
        let cut = stream::once(async { Err(io::Error::from(Errno::IO)) });
        let first = bytes.take(1).map(|bytes| bytes.map(|bytes| bytes.slice(..bytes.len() / 2)));
        first.chain(cut).boxed()
    }

    async fn around<T>(&self, step: Step, inner: impl Future<Output = Result<T>>) -> Result<T> {
        self.meet(When::Before, step).await?;
        let done = inner.await?;
        self.meet(When::After, step).await?;
        Ok(done)
    }
}

#[derive(Debug)]
struct FaultyStorage {
    inner: Arc<dyn Storage>,
    faults: Faults,
}

#[async_trait]
impl Storage for FaultyStorage {
    async fn ping(&self) -> Result<()> {
        self.inner.ping().await
    }

    fn as_multipart(&self) -> Option<&dyn MultipartStorage> {
        self.inner.as_multipart().map(|_| self as &dyn MultipartStorage)
    }

    fn as_folder(&self) -> Option<&dyn FolderStorage> {
        self.inner.as_folder().map(|_| self as &dyn FolderStorage)
    }

    async fn binding(&self) -> Result<Option<Uuid>> {
        self.inner.binding().await
    }

    async fn bind(&self, id: Uuid) -> Result<Uuid> {
        self.faults.around(Step::Bind, self.inner.bind(id)).await
    }

    async fn rebind(&self, id: Uuid) -> Result<()> {
        self.inner.rebind(id).await
    }

    async fn sample_ids(&self) -> Result<Vec<Uuid>> {
        self.inner.sample_ids().await
    }

    async fn part_writer(&self, session: &Session, part: Part, guard: WriteGuard) -> Result<Box<dyn PartWriter>> {
        let inner = self.faults.around(Step::PartWriter, self.inner.part_writer(session, part, guard)).await?;
        Ok(Box::new(FaultyWriter { inner, faults: self.faults.clone() }))
    }

    async fn complete(&self, session: &Session, parts: &[PartRecord]) -> Result<String> {
        self.faults.around(Step::Complete, self.inner.complete(session, parts)).await
    }

    async fn discard(&self, session: &Session) -> Result<()> {
        self.faults.around(Step::Discard, self.inner.discard(session)).await
    }

    async fn discard_parts(&self, session: &Session) -> Result<()> {
        self.faults.around(Step::DiscardParts, self.inner.discard_parts(session)).await
    }

    async fn hash(&self, session: &Session, hasher: Sha256, range: Range<u64>) -> Result<Option<Sha256>> {
        self.faults.around(Step::Hash, self.inner.hash(session, hasher, range)).await
    }

    async fn compare(&self, session: &Session, hasher: Sha256, parts: &[PartRecord]) -> Result<Option<Compared>> {
        self.faults.around(Step::Compare, self.inner.compare(session, hasher, parts)).await
    }

    async fn read(&self, location: &str, size_bytes: u64, range: Range<u64>) -> Result<ByteStream> {
        let bytes = self.faults.around(Step::Read, self.inner.read(location, size_bytes, range)).await?;
        Ok(self.faults.cut(bytes).await)
    }

    async fn read_upload(&self, session: &Session, range: Range<u64>) -> Result<Option<ByteStream>> {
        let bytes = self.faults.around(Step::Read, self.inner.read_upload(session, range)).await?;
        match bytes {
            Some(bytes) => Ok(Some(self.faults.cut(bytes).await)),
            None => Ok(None),
        }
    }

    async fn check_upload(&self, session: &Session) -> Result<()> {
        self.inner.check_upload(session).await
    }

    async fn check_tail(&self, session: &Session) -> Result<()> {
        self.inner.check_tail(session).await
    }

    async fn stored_files(&self) -> Result<Vec<FileId>> {
        self.inner.stored_files().await
    }

    async fn check(&self, location: &str, size_bytes: u64) -> Result<()> {
        self.inner.check(location, size_bytes).await
    }
}

#[async_trait]
impl MultipartStorage for FaultyStorage {
    async fn start(&self, session: &Session) -> Result<MultipartUpload> {
        self.faults.around(Step::Begin, self.multipart().start(session)).await
    }

    fn part_limits(&self) -> PartLimits {
        self.faults.part_limits.lock().unwrap().unwrap_or_else(|| self.multipart().part_limits())
    }

    async fn end_upload(&self, session: &Session, first_parts: &[PartRecord]) -> Result<String> {
        self.faults.around(Step::EndUpload, self.multipart().end_upload(session, first_parts)).await
    }

    fn max_held_bytes(&self) -> u64 {
        self.multipart().max_held_bytes()
    }

    async fn hold(&self, owner: &OwnerName, bytes: u64) -> Result<HeldMemory> {
        self.multipart().hold(owner, bytes).await
    }

    async fn discard_tail(&self, location: &str) -> Result<()> {
        self.multipart().discard_tail(location).await
    }

    async fn sessions_with_tails(&self, after: Option<SessionId>, limit: usize) -> Result<Vec<SessionId>> {
        self.multipart().sessions_with_tails(after, limit).await
    }

    async fn discard_tails(&self, session: SessionId) -> Result<()> {
        self.multipart().discard_tails(session).await
    }

    async fn abandon(&self, session: &Session, upload_id: &str) -> Result<()> {
        self.multipart().abandon(session, upload_id).await
    }
}

#[async_trait]
impl FolderStorage for FaultyStorage {
    async fn uploads(&self) -> Result<Vec<SessionId>> {
        self.folder().uploads().await
    }

    async fn next_uploads(&self, limit: usize) -> Result<Vec<SessionId>> {
        self.folder().next_uploads(limit).await
    }

    async fn discard_upload(&self, session: SessionId) -> Result<()> {
        self.folder().discard_upload(session).await
    }

    async fn externally_modified_at(&self, session: &Session) -> Result<Option<SystemTime>> {
        self.folder().externally_modified_at(session).await
    }

    fn receive_file(&self, id: FileId) -> ArrivingFile {
        self.folder().receive_file(id)
    }

    async fn persist_file(&self, arriving: &mut ArrivingFile) -> Result<PersistedFile> {
        self.faults.around(Step::PersistFile, self.folder().persist_file(arriving)).await
    }

    async fn keep_file(&self, id: FileId) -> Result<()> {
        self.faults.around(Step::KeepFile, self.folder().keep_file(id)).await
    }

    async fn discard_file(&self, arriving: ArrivingFile) -> Result<()> {
        self.folder().discard_file(arriving).await
    }

    async fn abandoned_files(&self) -> Result<Vec<AbandonedFile>> {
        self.folder().abandoned_files().await
    }

    async fn discard_abandoned(&self, id: FileId) -> Result<()> {
        self.folder().discard_abandoned(id).await
    }
}

impl FaultyStorage {
    fn folder(&self) -> &dyn FolderStorage {
        self.inner.as_folder().expect("the service calls this only on a folder")
    }

    fn multipart(&self) -> &dyn MultipartStorage {
        self.inner.as_multipart().expect("the service calls this only on a multipart storage")
    }
}

struct FaultyWriter {
    inner: Box<dyn PartWriter>,
    faults: Faults,
}

#[async_trait]
impl PartWriter for FaultyWriter {
    async fn push(&mut self, bytes: Bytes) -> Result<()> {
        self.faults.around(Step::Push, self.inner.push(bytes)).await
    }

    async fn finish(self: Box<Self>) -> Result<Box<dyn StagedPart>> {
        let Self { inner, faults } = *self;
        let inner = faults.around(Step::Finish, inner.finish()).await?;
        Ok(Box::new(FaultyStagedPart { inner, faults }))
    }
}

struct FaultyStagedPart {
    inner: Box<dyn StagedPart>,
    faults: Faults,
}

#[async_trait]
impl StagedPart for FaultyStagedPart {
    fn digests(&self) -> Digests {
        self.inner.digests()
    }

    async fn persist(self: Box<Self>) -> Result<PersistedPart> {
        let Self { inner, faults } = *self;
        faults.around(Step::Persist, inner.persist()).await
    }

    async fn persist_as_tail(self: Box<Self>) -> Result<PersistedTail> {
        let Self { inner, faults } = *self;
        faults.around(Step::PersistAsTail, inner.persist_as_tail()).await
    }
}

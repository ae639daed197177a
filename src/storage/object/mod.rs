//! An object store: S3 and compatible stores, Google Cloud Storage, Azure, or memory.
//!
//! Owns how a session maps to the store's multipart upload. The server creates the upload for the first part, puts each
//! part of the session as one part of the upload, and completes the upload into the object `stored/<file>`. Does not
//! own the upload's id and the parts' etags: most stores cannot list them, so the service keeps them in the database.
//! Does not own the protocols and the retries: those are in the crate `object_store`.

mod answers;
mod checked;
mod limits;
mod listed_parts;
mod memory;
mod multipart;
mod open;
mod part_writer;
mod put_health;
mod tails;

use std::{io, ops::Range, sync::Arc, time::Duration};

use answers::{ANSWER_TIMEOUT, failed, with_timeout};
use async_trait::async_trait;
use bytes::BytesMut;
use checked::CheckedUploads;
use futures_util::{StreamExt, TryStreamExt, stream};
pub use limits::{PartLimits, PartSettings};
use memory::MemoryBudget;
use object_store::{
    Error as StoreError, GetOptions, GetRange, ObjectStore, ObjectStoreExt, PutMode, PutOptions, PutPayload,
    multipart::{MultipartStore, PartId},
    path::Path,
    signer::Signer,
};
use part_writer::Target;
use put_health::PutHealth;
use sha2::{Digest, Sha256};
use uuid::Uuid;

use super::{
    BINDING, ByteStream, Compared, Error, MAX_SAMPLED_IDS, MultipartStorage, PartWriter, Result, Storage, WriteGuard,
    compare::{PartComparer, byte_range},
    parse_binding,
};
use crate::domain::{FileId, Part, PartRecord, Session};

const STORED: &str = "stored";
/// How long a completed object may take to become visible.
const VISIBILITY_DELAY: Duration = Duration::from_secs(2);

/// A bucket, or a prefix in one.
#[derive(Clone)]
pub struct ObjectStorage {
    objects: Arc<dyn ObjectStore>,
    uploads: Arc<dyn MultipartStore>,
    /// The same, for uploads of which the store checks the CRC-64/NVME of each part.
    checked: Option<CheckedUploads>,
    prefix: Path,
    memory: MemoryBudget,
    /// The share of `memory` for requests that hold several parts.
    held: MemoryBudget,
    put_health: Arc<PutHealth>,
    part_limits: PartLimits,
    /// Signs `ListParts` requests. `None` if the store has no such request.
    signer: Option<Arc<dyn Signer>>,
}

impl std::fmt::Debug for ObjectStorage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ObjectStorage({}/{})", self.objects, self.prefix)
    }
}

impl ObjectStorage {
    fn with_store<S: ObjectStore + MultipartStore>(store: S, prefix: Path, memory_bytes: u64) -> Self {
        let store = Arc::new(store);
        let (objects, uploads) = (Arc::clone(&store) as Arc<dyn ObjectStore>, store as Arc<dyn MultipartStore>);
        Self {
            objects,
            uploads,
            checked: None,
            prefix,
            memory: MemoryBudget::new(memory_bytes),
            held: MemoryBudget::new(memory_bytes / 4),
            put_health: Arc::default(),
            part_limits: PartLimits::OF_STORES,
            signer: None,
        }
    }

    fn location(session: &Session) -> String {
        format!("{STORED}/{}", session.file_id)
    }

    /// Completes the multipart upload of a session with these parts, which have this many bytes.
    async fn complete_with(&self, session: &Session, parts: &[PartRecord], size_bytes: u64) -> Result<String> {
        let location = Self::location(session);
        let path = self.path(&location);
        let completed = match &session.storage_upload {
            Some(upload) if !parts.is_empty() => {
                let etag = |part: &PartRecord| PartId { content_id: part.storage_etag.clone().unwrap_or_default() };
                self.uploads_of(session).complete_multipart(&path, &upload.id, parts.iter().map(etag).collect()).await
            }
            _ => self.objects.put(&path, PutPayload::new()).await,
        };
        // An object that exists is complete, even if this request failed: a concurrent or earlier call completed it, or the
        // store's answer was lost. The server never puts anything else under this name.
        let exists = self.check(&location, size_bytes).await;
        match (completed, exists) {
            (_, Ok(())) => Ok(location),
            // The upload is gone. Either another call has completed it and the object is not visible yet, or the store has
            // dropped the upload.
            (Err(StoreError::NotFound { .. }), Err(Error::Lost(_))) => {
                tokio::time::sleep(VISIBILITY_DELAY).await;
                self.check(&location, size_bytes).await.map(|()| location)
            }
            // Not `Lost`: a concurrent call may be about to complete the file.
            (Err(error), Err(Error::Lost(_))) => {
                let failed = Error::Store { action: "complete an upload".to_owned(), source: error.into() };
                Err(self.find_replaced_parts(session, parts).await.map_or(failed, Error::Replaced))
            }
            (_, Err(error)) => Err(error),
        }
    }

    fn path(&self, location: &str) -> Path {
        location.split('/').fold(self.prefix.clone(), |path, part| path.join(part))
    }
}

#[async_trait]
impl Storage for ObjectStorage {
    async fn ping(&self) -> Result<()> {
        // No object has this prefix, so the list is short. A missing bucket or permission still makes it fail.
        let ping = self.path("ping");
        self.objects.list(Some(&ping)).next().await.transpose().map_err(failed("list the bucket"))?;
        self.put_health.check(|| async { self.objects.put(&ping, PutPayload::from_static(b"ping")).await }).await
    }

    fn as_multipart(&self) -> Option<&dyn MultipartStorage> {
        Some(self)
    }

    async fn binding(&self) -> Result<Option<Uuid>> {
        let found =
            match unless_missing(self.objects.get(&self.path(BINDING)).await).map_err(failed("read partway.id"))? {
                Some(found) => found.bytes().await.map_err(failed("read partway.id"))?,
                None => return Ok(None),
            };
        parse_binding(BINDING, &String::from_utf8_lossy(&found)).map(Some)
    }

    async fn bind(&self, id: Uuid) -> Result<Uuid> {
        let options = PutOptions::from(PutMode::Create);
        match self.objects.put_opts(&self.path(BINDING), id.to_string().into(), options).await {
            Ok(_) | Err(StoreError::AlreadyExists { .. }) => {}
            Err(error) => return Err(failed("write partway.id")(error)),
        }
        // Some stores ignore the condition, so the id that the store now returns is the valid one.
        self.binding().await?.ok_or_else(|| Error::Lost(format!("{BINDING} is missing directly after it was written")))
    }

    async fn rebind(&self, id: Uuid) -> Result<()> {
        self.objects.put(&self.path(BINDING), id.to_string().into()).await.map(drop).map_err(failed("write partway.id"))
    }

    async fn sample_ids(&self) -> Result<Vec<Uuid>> {
        let stored = self.path(STORED);
        let some = self.objects.list(Some(&stored)).take(MAX_SAMPLED_IDS).try_collect::<Vec<_>>().await;
        let id = |object: &object_store::ObjectMeta| object.location.filename()?.parse().ok();
        Ok(some.map_err(failed("list the bucket"))?.iter().filter_map(id).collect())
    }

    async fn part_writer(&self, session: &Session, part: Part, write_guard: WriteGuard) -> Result<Box<dyn PartWriter>> {
        let upload_id = session.storage_upload.as_ref().map(|upload| upload.id.clone());
        let upload_id = upload_id.ok_or_else(|| Error::Lost(format!("session {} has no upload id", session.id)))?;
        let memory = self.memory.reserve(&session.owner, part.size_bytes).await?;
        let mut bytes = BytesMut::with_capacity(usize::try_from(part.size_bytes).unwrap_or(0));
        if let Some(tail) = session.tail_of(part) {
            bytes.extend_from_slice(&self.read_tail(tail).await?);
        }
        let storage = self.clone();
        let uploads = self.uploads_of(session);
        let (path, session) = (self.path(&Self::location(session)), session.id);
        let target = Target { storage, uploads, session, path, upload_id, part, memory, write_guard };
        Ok(Box::new(part_writer::ObjectPartWriter { target, bytes }))
    }

    async fn complete(&self, session: &Session, parts: &[PartRecord]) -> Result<String> {
        self.complete_with(session, parts, session.plan.total_size_bytes()).await
    }

    async fn discard(&self, session: &Session) -> Result<()> {
        self.discard_parts(session).await?;
        let deleted = self.objects.delete(&self.path(&Self::location(session))).await;
        unless_missing(deleted).map(drop).map_err(failed("delete an object"))
    }

    async fn discard_parts(&self, session: &Session) -> Result<()> {
        self.delete_tails(session.id).await?;
        match &session.storage_upload {
            Some(upload) => self.abandon(session, &upload.id).await,
            None => Ok(()),
        }
    }

    async fn hash(&self, session: &Session, mut hasher: Sha256, range: Range<u64>) -> Result<Option<Sha256>> {
        let Some(mut bytes) = self.read_upload(session, range).await? else { return Ok(None) };
        while let Some(block) = bytes.try_next().await.map_err(read_failed)? {
            hasher.update(&block);
        }
        Ok(Some(hasher))
    }

    async fn compare(&self, session: &Session, hasher: Sha256, parts: &[PartRecord]) -> Result<Option<Compared>> {
        let mut comparer = PartComparer::new(hasher, parts);
        let Some(mut bytes) = self.read_upload(session, byte_range(parts)).await? else { return Ok(None) };
        while let Some(block) = bytes.try_next().await.map_err(read_failed)? {
            comparer.push(&block);
        }
        Ok(Some(comparer.finish()))
    }

    async fn read_upload(&self, session: &Session, range: Range<u64>) -> Result<Option<ByteStream>> {
        match self.read(&Self::location(session), session.plan.total_size_bytes(), range).await {
            Err(Error::Lost(_)) => Ok(None),
            read => read.map(Some),
        }
    }

    async fn read(&self, location: &str, size_bytes: u64, range: Range<u64>) -> Result<ByteStream> {
        if range.is_empty() {
            // An HTTP range cannot be empty.
            return self.check(location, size_bytes).await.map(|()| stream::empty().boxed());
        }
        let options = GetOptions { range: Some(GetRange::Bounded(range)), ..Default::default() };
        let found = match self.objects.get_opts(&self.path(location), options).await {
            Ok(found) => found,
            // The store refuses a range that starts after the object's end. If the size is wrong, report that instead.
            Err(error) => {
                self.check(location, size_bytes).await?;
                return Err(failed("read an object")(error));
            }
        };
        super::expect_size(location, found.meta.size, size_bytes)?;
        Ok(found.into_stream().map_err(io::Error::other).boxed())
    }

    async fn check_upload(&self, session: &Session) -> Result<()> {
        match session.storage_upload {
            Some(_) => Ok(()),
            None => Err(Error::Lost(format!("session {} has bytes but no upload id", session.id))),
        }
    }

    async fn check_tail(&self, session: &Session) -> Result<()> {
        match &session.tail {
            Some(tail) => self.read_tail(tail).await.map(drop),
            None => Ok(()),
        }
    }

    async fn stored_files(&self) -> Result<Vec<FileId>> {
        let stored = self.path(STORED);
        let objects = self.objects.list(Some(&stored)).try_collect::<Vec<_>>().await;
        let id = |object: &object_store::ObjectMeta| object.location.filename()?.parse().ok().map(FileId);
        Ok(objects.map_err(failed("list the bucket"))?.iter().filter_map(id).collect())
    }

    async fn check(&self, location: &str, size_bytes: u64) -> Result<()> {
        let path = self.path(location);
        let found = with_timeout("inspect an object", ANSWER_TIMEOUT, self.objects.head(&path)).await?.size;
        super::expect_size(path, found, size_bytes)
    }
}

fn read_failed(error: io::Error) -> Error {
    Error::Store { action: "read an object".to_owned(), source: error.into() }
}

fn unless_missing<T>(result: Result<T, StoreError>) -> Result<Option<T>, StoreError> {
    match result {
        // The in-memory store reports a missing upload as `Generic`, and uses `Generic` for nothing else here.
        Err(StoreError::NotFound { .. } | StoreError::Generic { store: "InMemory", .. }) => Ok(None),
        done => done.map(Some),
    }
}

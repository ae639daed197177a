//! An object store: S3 and what speaks its protocol, Google Cloud Storage, Azure, or memory.
//!
//! Owns how a session becomes the store's own multipart upload: created for the first part, one of its parts for each of
//! ours, completed into the object `stored/<file>`. The store cannot be asked what it has received, so its ids and etags
//! are the service's to keep. The protocols are the crate `object_store`'s, and so is trying again.

mod answers;
mod limits;
mod listed_parts;
mod memory;
mod open;
mod part_writer;
mod puts;

use std::{
    io,
    ops::Range,
    sync::Arc,
    time::{Duration, SystemTime},
};

use answers::{SILENCE, failed, in_time};
use async_trait::async_trait;
use futures_util::{StreamExt, TryStreamExt, stream};
pub use limits::PartSettings;
use memory::Memory;
use object_store::{
    Error as StoreError, GetOptions, GetRange, ObjectStore, ObjectStoreExt, PutMode, PutOptions, PutPayload,
    multipart::{MultipartStore, PartId},
    path::Path,
    signer::Signer,
};
use part_writer::Target;
use puts::Puts;
use sha2::{Digest, Sha256};
use uuid::Uuid;

use super::{
    BINDING, ByteStream, Compared, Error, MAX_SAMPLED_IDS, PartWriter, Result, Storage, WriteGuard,
    compare::{Comparing, range_of},
    parse_binding,
};
use crate::domain::{FileId, Part, PartRecord, Session, SessionId};

const STORED: &str = "stored";
/// How long an object that was completed may take to be seen.
const SEEN_AFTER: Duration = Duration::from_secs(2);

/// A bucket, or a part of one.
#[derive(Clone)]
pub struct ObjectStorage {
    objects: Arc<dyn ObjectStore>,
    uploads: Arc<dyn MultipartStore>,
    prefix: Path,
    memory: Memory,
    puts: Arc<Puts>,
    /// Signs the question which parts a store has, where it can be asked.
    signer: Option<Arc<dyn Signer>>,
}

impl std::fmt::Debug for ObjectStorage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ObjectStorage({}/{})", self.objects, self.prefix)
    }
}

impl ObjectStorage {
    fn over<S: ObjectStore + MultipartStore>(store: S, prefix: Path, memory_bytes: u64) -> Self {
        let store = Arc::new(store);
        let (objects, uploads) = (Arc::clone(&store) as Arc<dyn ObjectStore>, store as Arc<dyn MultipartStore>);
        Self { objects, uploads, prefix, memory: Memory::new(memory_bytes), puts: Arc::default(), signer: None }
    }

    fn location(session: &Session) -> String {
        format!("{STORED}/{}", session.file_id)
    }

    fn path(&self, location: &str) -> Path {
        location.split('/').fold(self.prefix.clone(), |path, part| path.join(part))
    }

    /// Gives up an upload; it may be gone already.
    async fn abort(&self, session: &Session, upload_id: &str) -> Result<()> {
        let path = self.path(&Self::location(session));
        let aborted = self.uploads.abort_multipart(&path, &upload_id.to_owned()).await;
        unless_missing(aborted).map(drop).map_err(failed("abort an upload"))
    }
}

#[async_trait]
impl Storage for ObjectStorage {
    async fn ping(&self) -> Result<()> {
        // A place where nothing is: a missing bucket or right is told, and the answer is short.
        let ping = self.path("ping");
        self.objects.list(Some(&ping)).next().await.transpose().map_err(failed("list the bucket"))?;
        self.puts.check(|| async { self.objects.put(&ping, PutPayload::from_static(b"ping")).await }).await
    }

    fn is_shared(&self) -> bool {
        true
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
        // Some stores ignore the condition: what is there now decides.
        self.binding().await?.ok_or_else(|| Error::Lost(format!("{BINDING} was written and is not there")))
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

    async fn begin(&self, session: &Session) -> Result<Option<String>> {
        let path = self.path(&Self::location(session));
        in_time("create an upload", SILENCE, self.uploads.create_multipart(&path)).await.map(Some)
    }

    async fn abandon(&self, session: &Session, upload_id: &str) -> Result<()> {
        self.abort(session, upload_id).await
    }

    async fn part_writer(&self, session: &Session, part: Part, write_guard: WriteGuard) -> Result<Box<dyn PartWriter>> {
        let upload_id = session.storage_upload_id.clone();
        let upload_id = upload_id.ok_or_else(|| Error::Lost(format!("session {} has no upload", session.id)))?;
        let (uploads, path) = (Arc::clone(&self.uploads), self.path(&Self::location(session)));
        let memory = self.memory.take(&session.owner, part.size_bytes).await?;
        let puts = Arc::clone(&self.puts);
        let target = Target { uploads, puts, path, upload_id, part, memory, write_guard };
        Ok(Box::new(part_writer::ObjectPartWriter::new(target)))
    }

    async fn complete(&self, session: &Session, parts: &[PartRecord]) -> Result<String> {
        let location = Self::location(session);
        let path = self.path(&location);
        let completed = match &session.storage_upload_id {
            Some(upload_id) if !parts.is_empty() => {
                let etag = |part: &PartRecord| PartId { content_id: part.storage_etag.clone().unwrap_or_default() };
                self.uploads.complete_multipart(&path, upload_id, parts.iter().map(etag).collect()).await
            }
            _ => self.objects.put(&path, PutPayload::new()).await,
        };
        // Whatever the store says, a file that is there is complete: another try, at the same time or before a crash,
        // did it, or the answer was lost. Nothing else is ever put under its name.
        let there = self.check(&location, session.plan.total_size_bytes()).await;
        match (completed, there) {
            (_, Ok(())) => Ok(location),
            // Gone: completed by another try, whose object will be seen in a moment, or given up by the store.
            (Err(StoreError::NotFound { .. }), Err(Error::Lost(_))) => {
                tokio::time::sleep(SEEN_AFTER).await;
                self.check(&location, session.plan.total_size_bytes()).await.map(|()| location)
            }
            // Not `Lost`: another try may be about to make the file.
            (Err(error), Err(Error::Lost(_))) => {
                let failed = Error::Store { action: "complete an upload".to_owned(), source: error.into() };
                Err(self.replaced(session, parts).await.map_or(failed, Error::Replaced))
            }
            (_, Err(error)) => Err(error),
        }
    }

    async fn discard(&self, session: &Session) -> Result<()> {
        self.discard_parts(session).await?;
        let deleted = self.objects.delete(&self.path(&Self::location(session))).await;
        unless_missing(deleted).map(drop).map_err(failed("delete an object"))
    }

    async fn discard_parts(&self, session: &Session) -> Result<()> {
        match &session.storage_upload_id {
            Some(upload_id) => self.abort(session, upload_id).await,
            None => Ok(()),
        }
    }

    async fn hash(&self, session: &Session, mut hasher: Sha256, range: Range<u64>) -> Result<Option<Sha256>> {
        let mut bytes = match self.read(&Self::location(session), session.plan.total_size_bytes(), range).await {
            Err(Error::Lost(_)) => return Ok(None),
            read => read?,
        };
        while let Some(block) = bytes.try_next().await.map_err(cut)? {
            hasher.update(&block);
        }
        Ok(Some(hasher))
    }

    async fn compare(&self, session: &Session, hasher: Sha256, parts: &[PartRecord]) -> Result<Option<Compared>> {
        let mut comparing = Comparing::new(hasher, parts);
        let range = range_of(parts);
        let mut bytes = match self.read(&Self::location(session), session.plan.total_size_bytes(), range).await {
            Err(Error::Lost(_)) => return Ok(None),
            read => read?,
        };
        while let Some(block) = bytes.try_next().await.map_err(cut)? {
            comparing.push(&block);
        }
        Ok(Some(comparing.finish()))
    }

    /// An object is written once.
    async fn externally_modified_at(&self, _: &Session) -> Result<Option<SystemTime>> {
        Ok(None)
    }

    async fn read(&self, location: &str, size_bytes: u64, range: Range<u64>) -> Result<ByteStream> {
        if range.is_empty() {
            // HTTP has no way to ask for nothing.
            return self.check(location, size_bytes).await.map(|()| stream::empty().boxed());
        }
        let options = GetOptions { range: Some(GetRange::Bounded(range)), ..Default::default() };
        let found = match self.objects.get_opts(&self.path(location), options).await {
            Ok(found) => found,
            // A range that begins beyond the end is refused; a look at the size says whether that is why.
            Err(error) => {
                self.check(location, size_bytes).await?;
                return Err(failed("read an object")(error));
            }
        };
        super::expect_size(location, found.meta.size, size_bytes)?;
        Ok(found.into_stream().map_err(io::Error::other).boxed())
    }

    /// None: what a crash left behind is for the bucket's own rule on incomplete uploads.
    async fn uploads(&self) -> Result<Vec<SessionId>> {
        Ok(Vec::new())
    }

    async fn discard_upload(&self, _: SessionId) -> Result<()> {
        Ok(())
    }

    async fn check_upload(&self, session: &Session) -> Result<()> {
        match session.storage_upload_id {
            Some(_) => Ok(()),
            None => Err(Error::Lost("there are parts, but no upload".to_owned())),
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
        let found = in_time("look at an object", SILENCE, self.objects.head(&path)).await?.size;
        super::expect_size(path, found, size_bytes)
    }
}

fn cut(error: io::Error) -> Error {
    Error::Store { action: "read an object".to_owned(), source: error.into() }
}

fn unless_missing<T>(result: Result<T, StoreError>) -> Result<Option<T>, StoreError> {
    match result {
        // The one in memory says so of an upload in its own way, and can say nothing else.
        Err(StoreError::NotFound { .. } | StoreError::Generic { store: "InMemory", .. }) => Ok(None),
        done => done.map(Some),
    }
}

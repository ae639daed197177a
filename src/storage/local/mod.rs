//! A folder on the local disk.
//!
//! Owns which file is whose, and how files begin, end and are found again. One file per session in `uploading/`,
//! made when its first part arrives, with its full size but no blocks; every part is written at its own offset. A finished
//! file is renamed into `stored/`, never copied. Both folders are on one file system.

mod binding;
mod content;
mod file_system;
mod mark;
mod names;
mod part_writer;

use std::{
    collections::HashMap,
    fs::{self, DirBuilder, File, Metadata, OpenOptions},
    io,
    ops::Range,
    os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError, Weak},
    time::SystemTime,
};

use async_trait::async_trait;
use futures_util::StreamExt;
use names::{expect_size, list, lost_or, remove, rename_durably, sync_dir};
pub use part_writer::SyncParts;
use sha2::Sha256;
use uuid::Uuid;

use super::{ByteStream, Compared, Error, PartWriter, Result, Storage, WriteGuard, off_thread};
use crate::{
    domain::{FileId, Part, PartRecord, Session, SessionId},
    group_commit::GroupCommit,
};

const UPLOADING: &str = "uploading";
const STORED: &str = "stored";
/// Extension of a file in `uploading/` that does not have its size yet.
const UNFINISHED: &str = "new";

/// The folder that holds all bytes.
#[derive(Clone, Debug)]
pub struct LocalDisk {
    root: PathBuf,
    sync: SyncParts,
    beginning: Arc<Mutex<()>>,
    /// The files that parts are being written to.
    open: Arc<Mutex<HashMap<SessionId, Weak<Upload>>>>,
}

/// A session's file while parts are written to it.
#[derive(Debug)]
struct Upload {
    file: File,
    writes: mark::Writes,
    /// Parts of one file that are written at the same time are made durable by one sync.
    syncs: GroupCommit<(), std::result::Result<(), Arc<io::Error>>>,
}

impl LocalDisk {
    /// Opens the folder, creating it if there is none.
    pub fn open(root: &Path, sync: SyncParts) -> Result<Self> {
        for dir in [root.join(UPLOADING), root.join(STORED)] {
            // Only the server's own user may read what people upload.
            let made = DirBuilder::new().recursive(true).mode(0o700).create(&dir);
            made.map_err(Error::io(format!("create {}", dir.display())))?;
        }
        sync_dir(root)?;
        file_system::try_rename(root)?;
        Ok(Self { root: root.to_owned(), sync, beginning: Arc::default(), open: Arc::default() })
    }

    /// The session's file, open for writing. The first part makes it, sparse: a request's head must not take the disk from
    /// everybody. Later parts must find it: a new file would have holes where parts were.
    fn open_for_parts(&self, session: &Session) -> Result<File> {
        let path = self.uploading(session.id);
        if session.received.is_empty() {
            return self.begin(&path, session.plan.total_size_bytes());
        }
        let file = OpenOptions::new().write(true).open(&path).map_err(|error| lost_or(error, "open", &path))?;
        let found = file.metadata().map_err(|error| lost_or(error, "look at", &path))?.len();
        super::expect_size(path.display(), found, session.plan.total_size_bytes())?;
        Ok(file)
    }

    /// The same for all who write to it at the same time.
    fn upload(&self, session: &Session) -> Result<Arc<Upload>> {
        let open = || self.open.lock().unwrap_or_else(PoisonError::into_inner);
        // It may have been removed, with the session or by hand, or cut.
        let size_bytes = session.plan.total_size_bytes();
        let is_well = |file: &Metadata| file.nlink() > 0 && file.len() == size_bytes;
        let known = |open: &HashMap<SessionId, Weak<Upload>>| {
            let upload = open.get(&session.id).and_then(Weak::upgrade);
            upload.filter(|upload| upload.file.metadata().is_ok_and(|file| is_well(&file)))
        };
        if let Some(upload) = known(&open()) {
            return Ok(upload);
        }
        let (file, syncs) = (self.open_for_parts(session)?, GroupCommit::default());
        let upload = Arc::new(Upload { file, writes: mark::Writes::default(), syncs });
        let mut open = open();
        if let Some(faster) = known(&open) {
            return Ok(faster);
        }
        open.retain(|_, upload| upload.strong_count() > 0);
        open.insert(session.id, Arc::downgrade(&upload));
        Ok(upload)
    }

    /// The first parts of a session arrive together, so the file is made by one of them, under another name until it is
    /// whole: nobody writes to a file that is removed again because there was no room.
    fn begin(&self, path: &Path, size_bytes: u64) -> Result<File> {
        let _one_at_a_time = self.beginning.lock().unwrap_or_else(PoisonError::into_inner);
        let mut options = OpenOptions::new();
        options.write(true).mode(0o600);
        if let Ok(file) = options.open(path)
            && file.metadata().is_ok_and(|file| file.len() == size_bytes)
        {
            // The one who made it may have died before this. What it wrote is of no part that was recorded.
            mark::set(&file).map_err(Error::io(format!("mark {}", path.display())))?;
            sync_dir(&self.root.join(UPLOADING))?;
            return Ok(file);
        }
        let unfinished = path.with_extension(UNFINISHED);
        let failed = || Error::io(format!("create {} with {size_bytes} bytes", path.display()));
        let file = options.create(true).truncate(true).open(&unfinished).map_err(failed())?;
        let made = file
            .set_len(size_bytes)
            .and_then(|()| mark::set(&file))
            .and_then(|()| file.sync_all())
            .and_then(|()| fs::rename(&unfinished, path));
        if let Err(error) = made {
            let _ = fs::remove_file(&unfinished);
            return Err(failed()(error));
        }
        sync_dir(&self.root.join(UPLOADING))?;
        Ok(file)
    }

    fn complete_blocking(&self, session: &Session) -> Result<String> {
        let size_bytes = session.plan.total_size_bytes();
        let location = format!("{STORED}/{}", session.file_id);
        let (from, to) = (self.uploading(session.id), self.root.join(&location));
        if size_bytes == 0 && !to.exists() {
            self.begin(&from, 0)?;
        }
        match rename_durably(&from, &to, size_bytes) {
            // Renamed by another try: one that runs at the same time, or one that did not live to record it.
            Err(lost @ Error::Lost(_)) => expect_size(&to, size_bytes).map_err(|_| lost)?,
            renamed => renamed?,
        }
        sync_dir(&self.root.join(STORED))?;
        sync_dir(&self.root.join(UPLOADING))?;
        Ok(location)
    }

    fn uploading(&self, session: SessionId) -> PathBuf {
        self.root.join(UPLOADING).join(session.0.to_string())
    }

    /// Where a session's bytes are, and where they are once they are complete.
    fn places(&self, session: &Session) -> [PathBuf; 2] {
        [self.uploading(session.id), self.root.join(STORED).join(session.file_id.0.to_string())]
    }

    fn stored(&self, location: &str) -> PathBuf {
        self.root.join(location)
    }
}

#[async_trait]
impl Storage for LocalDisk {
    async fn ping(&self) -> Result<()> {
        let root = self.root.clone();
        off_thread(move || file_system::check(&root)).await
    }

    /// Parts are written in place, and who may write one is decided in memory; a lock file keeps other servers away.
    fn is_shared(&self) -> bool {
        false
    }

    async fn binding(&self) -> Result<Option<Uuid>> {
        binding::read(self.root.clone()).await
    }

    async fn bind(&self, id: Uuid) -> Result<Uuid> {
        binding::write(self.root.clone(), id, false).await
    }

    async fn rebind(&self, id: Uuid) -> Result<()> {
        binding::write(self.root.clone(), id, true).await.map(drop)
    }

    async fn sample_ids(&self) -> Result<Vec<Uuid>> {
        let mut ids = Vec::new();
        for folder in [UPLOADING, STORED] {
            ids.extend(list(self.root.join(folder)).await?.into_iter().take(super::MAX_SAMPLED_IDS));
        }
        Ok(ids)
    }

    async fn begin(&self, _: &Session) -> Result<Option<String>> {
        Ok(None)
    }

    async fn abandon(&self, _: &Session, _: &str) -> Result<()> {
        Ok(())
    }

    async fn part_writer(&self, session: &Session, part: Part, write_guard: WriteGuard) -> Result<Box<dyn PartWriter>> {
        let (this, session) = (self.clone(), session.clone());
        let upload = off_thread(move || this.upload(&session)).await?;
        Ok(Box::new(part_writer::LocalPartWriter::new(upload, part, self.sync, write_guard)))
    }

    async fn complete(&self, session: &Session, _: &[PartRecord]) -> Result<String> {
        let (this, session) = (self.clone(), session.clone());
        off_thread(move || this.complete_blocking(&session)).await
    }

    /// The order matters: a finalize that runs at the same time either finds nothing to rename or has renamed already.
    async fn discard(&self, session: &Session) -> Result<()> {
        let stored = self.root.join(STORED).join(session.file_id.0.to_string());
        self.discard_upload(session.id).await?;
        off_thread(move || remove(&stored)).await
    }

    async fn discard_parts(&self, session: &Session) -> Result<()> {
        self.discard_upload(session.id).await
    }

    async fn hash(&self, session: &Session, hasher: Sha256, range: Range<u64>) -> Result<Option<Sha256>> {
        content::hash(self.places(session), hasher, range).await.map(Some)
    }

    async fn compare(&self, session: &Session, hasher: Sha256, parts: &[PartRecord]) -> Result<Option<Compared>> {
        content::compare(self.places(session), hasher, parts).await.map(Some)
    }

    async fn externally_modified_at(&self, session: &Session) -> Result<Option<SystemTime>> {
        let places = self.places(session);
        off_thread(move || {
            let Some(file) = places.iter().find_map(|path| fs::metadata(path).ok()) else { return Ok(None) };
            let changed_at = if mark::is_set(&file) { None } else { file.modified().ok() };
            Ok(changed_at)
        })
        .await
    }

    async fn read(&self, location: &str, size_bytes: u64, range: Range<u64>) -> Result<ByteStream> {
        Ok(content::read(&self.stored(location), size_bytes, range).await?.boxed())
    }

    async fn uploads(&self) -> Result<Vec<SessionId>> {
        Ok(list(self.root.join(UPLOADING)).await?.into_iter().map(SessionId).collect())
    }

    async fn discard_upload(&self, session: SessionId) -> Result<()> {
        let (uploading, beginning) = (self.uploading(session), Arc::clone(&self.beginning));
        off_thread(move || {
            // A first part may be about to rename what is removed here.
            let _not_meanwhile = beginning.lock().unwrap_or_else(PoisonError::into_inner);
            remove(&uploading.with_extension(UNFINISHED))?;
            remove(&uploading)
        })
        .await
    }

    async fn check_upload(&self, session: &Session) -> Result<()> {
        let ([uploading, stored], size_bytes) = (self.places(session), session.plan.total_size_bytes());
        off_thread(move || match expect_size(&uploading, size_bytes) {
            // In this order, since a file moves from the one to the other. What is told is the place where parts are.
            Err(Error::Lost(problem)) => expect_size(&stored, size_bytes).map_err(|error| match error {
                Error::Lost(_) => Error::Lost(problem),
                error => error,
            }),
            looked_at => looked_at,
        })
        .await
    }

    async fn stored_files(&self) -> Result<Vec<FileId>> {
        let dir = self.root.join(STORED);
        Ok(list(dir).await?.into_iter().map(FileId).collect())
    }

    async fn check(&self, location: &str, size_bytes: u64) -> Result<()> {
        let path = self.root.join(location);
        off_thread(move || expect_size(&path, size_bytes)).await
    }
}

//! A folder on the local disk.
//!
//! Owns which file belongs to which session, and how files are completed and found. Each session has one
//! sparse file in `uploading/`, created at its full size when the first part arrives. Every part is written at its own
//! offset. To complete a session, the server renames its file into `stored/` and never copies it, so all folders must
//! be on one file system. Does not own how the folder is opened: that is `opening`. Does not own how a file is created and
//! opened: that is `open_file`. Does not own files that arrive whole: those are in `small_file`. Does not own which parts were
//! recorded: that is in the database.

mod binding;
mod blocks;
mod content;
mod dir_entries;
mod file_system;
mod folder;
mod mtime_mark;
mod open_file;
mod opening;
mod part_writer;
mod small_file;

use std::{
    collections::HashMap,
    fs::ReadDir,
    ops::Range,
    path::PathBuf,
    sync::{Arc, Weak},
};

use async_trait::async_trait;
use blocks::Blocks;
use dir_entries::{expect_size, list, remove, rename_durably, sync_dir};
use futures_util::StreamExt;
use open_file::OpenFile;
use parking_lot::Mutex;
pub use part_writer::SyncParts;
use sha2::{Digest, Sha256};
pub use small_file::ArrivingFile;
use uuid::Uuid;

use super::{ByteStream, Compared, Error, FolderStorage, PartWriter, Result, Storage, WriteGuard, off_thread};
use crate::domain::{FileId, Hasher, Part, PartRecord, Session, SessionId, Tail};

const UPLOADING: &str = "uploading";
const STORED: &str = "stored";
/// Small files before their rows are committed.
const ARRIVING: &str = "arriving";
/// Extension of a file in `uploading/` until it has its full size.
const UNFINISHED: &str = "new";

/// The folder that contains all bytes.
#[derive(Clone, Debug)]
pub struct LocalDisk {
    root: PathBuf,
    sync: SyncParts,
    creation: Arc<Mutex<()>>,
    /// The files to which requests are writing parts.
    open: Arc<Mutex<HashMap<SessionId, Weak<OpenFile>>>>,
    arrivals: Arc<small_file::Arrivals>,
    blocks: Blocks,
    /// The rest of the folder `uploading/`, for [`FolderStorage::next_uploads`].
    listing: Arc<Mutex<Option<ReadDir>>>,
}

impl LocalDisk {
    fn complete_blocking(&self, session: &Session) -> Result<String> {
        let size_bytes = session.plan.total_size_bytes();
        let location = format!("{STORED}/{}", session.file_id);
        let (from, to) = (self.uploading(session.id), self.root.join(&location));
        if size_bytes == 0 && !to.exists() {
            self.create_file(&from, 0)?;
        }
        match rename_durably(&from, &to, size_bytes) {
            // A concurrent call has renamed the file, or an earlier one did and the server stopped before it recorded that.
            Err(lost @ Error::Lost(_)) => expect_size(&to, size_bytes).map_err(|_| lost)?,
            renamed => renamed?,
        }
        sync_dir(&self.root.join(STORED))?;
        sync_dir(&self.root.join(UPLOADING))?;
        Ok(location)
    }

    /// Hashes a tail. It reads the bytes back, so it notices if they have changed since they arrived.
    async fn hash_tail(&self, session: &Session, tail: &Tail) -> Result<Hasher> {
        let range = tail.part.offset_bytes..tail.end();
        let hasher = content::hash(self.all_paths(session), Hasher::default(), Hasher::update, range).await?;
        if hasher.clone().finish().sha256 != tail.sha256 {
            let problem = format!("session {}: the tail of part {} has other bytes", session.id, tail.part.number);
            return Err(Error::Lost(problem));
        }
        Ok(hasher)
    }

    fn uploading(&self, session: SessionId) -> PathBuf {
        self.root.join(UPLOADING).join(session.0.to_string())
    }

    /// The paths of an open session's file before and after completion.
    fn paths(&self, session: &Session) -> [PathBuf; 2] {
        [self.uploading(session.id), self.root.join(STORED).join(session.file_id.0.to_string())]
    }

    /// The paths of the file of any session, in the order in which files move.
    fn all_paths(&self, session: &Session) -> [PathBuf; 3] {
        let [uploading, stored] = self.paths(session);
        [uploading, self.arriving(session.file_id), stored]
    }
}

#[async_trait]
impl Storage for LocalDisk {
    async fn ping(&self) -> Result<()> {
        let root = self.root.clone();
        off_thread(move || file_system::check(&root)).await
    }

    /// Parts are written in place, under claims in this process's memory. A lock file keeps other servers out.
    fn as_folder(&self) -> Option<&dyn FolderStorage> {
        Some(self)
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
        for folder in [UPLOADING, ARRIVING, STORED] {
            ids.extend(list(self.root.join(folder)).await?.into_iter().take(super::MAX_SAMPLED_IDS));
        }
        Ok(ids)
    }

    async fn part_writer(&self, session: &Session, part: Part, write_guard: WriteGuard) -> Result<Box<dyn PartWriter>> {
        let (hasher, offset) = match session.tail_of(part) {
            Some(tail) => (self.hash_tail(session, tail).await?, tail.end()),
            None => (Hasher::default(), part.offset_bytes),
        };
        let (this, session) = (self.clone(), session.clone());
        let upload = off_thread(move || this.upload(&session)).await?;
        Ok(Box::new(part_writer::LocalPartWriter::new(
            upload,
            offset,
            hasher,
            self.sync,
            self.blocks.clone(),
            write_guard,
        )))
    }

    async fn complete(&self, session: &Session, _: &[PartRecord]) -> Result<String> {
        let (this, session) = (self.clone(), session.clone());
        off_thread(move || this.complete_blocking(&session)).await
    }

    /// Deletes in the order in which a file moves. So a concurrent finalize either finds no file to rename, or has already
    /// renamed it and this function deletes the result.
    async fn discard(&self, session: &Session) -> Result<()> {
        let stored = self.root.join(STORED).join(session.file_id.0.to_string());
        self.discard_upload(session.id).await?;
        self.remove_arriving(session.file_id).await?;
        off_thread(move || remove(&stored)).await
    }

    async fn discard_parts(&self, session: &Session) -> Result<()> {
        self.discard_upload(session.id).await
    }

    async fn hash(&self, session: &Session, hasher: Sha256, range: Range<u64>) -> Result<Option<Sha256>> {
        content::hash(self.all_paths(session), hasher, |hasher, block| hasher.update(block), range).await.map(Some)
    }

    async fn compare(&self, session: &Session, hasher: Sha256, parts: &[PartRecord]) -> Result<Option<Compared>> {
        content::compare(self.all_paths(session), hasher, parts).await.map(Some)
    }

    async fn read_upload(&self, session: &Session, range: Range<u64>) -> Result<Option<ByteStream>> {
        let size_bytes = session.plan.total_size_bytes();
        Ok(Some(content::read(self.all_paths(session), size_bytes, range).await?.boxed()))
    }

    async fn read(&self, location: &str, size_bytes: u64, range: Range<u64>) -> Result<ByteStream> {
        Ok(content::read(small_file::places(&self.root, location), size_bytes, range).await?.boxed())
    }

    async fn check_upload(&self, session: &Session) -> Result<()> {
        let ([uploading, stored], size_bytes) = (self.paths(session), session.plan.total_size_bytes());
        off_thread(move || match expect_size(&uploading, size_bytes) {
            // Looks in the order in which a file moves. If both paths fail, the error names `uploading/`.
            Err(Error::Lost(problem)) => expect_size(&stored, size_bytes).map_err(|error| match error {
                Error::Lost(_) => Error::Lost(problem),
                error => error,
            }),
            checked => checked,
        })
        .await
    }

    async fn check_tail(&self, session: &Session) -> Result<()> {
        match &session.tail {
            Some(tail) => self.hash_tail(session, tail).await.map(drop),
            None => Ok(()),
        }
    }

    async fn stored_files(&self) -> Result<Vec<FileId>> {
        let dir = self.root.join(STORED);
        Ok(list(dir).await?.into_iter().map(FileId).collect())
    }

    async fn check(&self, location: &str, size_bytes: u64) -> Result<()> {
        let places = small_file::places(&self.root, location);
        off_thread(move || {
            let place = places.iter().find(|place| place.exists()).unwrap_or(&places[0]);
            expect_size(place, size_bytes)
        })
        .await
    }
}

//! Small files: each arrives whole, in one request.
//!
//! Owns their way through the folder. A small file is written to `arriving/` and becomes durable there. Then its rows are
//! committed, and only then it moves to `stored/`. So a crash leaves no file without a row in `stored/`, where such a file
//! counts as the last copy of a lost row. What a crash leaves in `arriving/` is either stored according to its row, and moves
//! then, or was never acknowledged. Does not own the rows, and when such a file is removed: that is `service/small_file`.

use std::{
    collections::HashSet,
    fs::{self, File, OpenOptions},
    io::{self, ErrorKind, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::task::JoinHandle;

use super::{ARRIVING, LocalDisk, STORED, dir_entries, off_thread};
use crate::{
    domain::{Digests, FileId, Hasher},
    group_commit::GroupCommit,
    storage::{AbandonedFile, Error, PersistedFile, Result},
};

/// Size of the block that is collected before a blocking thread writes it. A smaller file is written and synced in one step.
const BLOCK_BYTES: usize = 256 * 1024;

/// The small files of this process.
#[derive(Debug, Default)]
pub(super) struct Arrivals {
    /// Files that a request is storing.
    running: Mutex<HashSet<FileId>>,
    /// Group commit: one sync of the folder makes all names durable that were created while the previous sync ran.
    names: GroupCommit<(), Result<(), Arc<io::Error>>>,
}

/// Lists a file as one that a request is storing, until the request and its last write have ended.
#[derive(Debug)]
struct Running(Arc<Arrivals>, FileId);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.running.lock().remove(&self.1);
    }
}

/// A small file that is arriving. It is not durable before [`persist_file`](crate::storage::FolderStorage::persist_file).
#[derive(Debug)]
pub struct ArrivingFile {
    path: PathBuf,
    /// `None` before the first block.
    file: Option<File>,
    /// A copy of the received bytes: a received piece of one byte can keep a buffer of many kilobytes alive.
    block: Vec<u8>,
    hasher: Hasher,
    writing: Option<JoinHandle<io::Result<File>>>,
    running: Arc<Running>,
}

impl ArrivingFile {
    /// Appends bytes. Waits while earlier bytes still have to be written.
    pub async fn push(&mut self, bytes: Bytes) -> Result<()> {
        self.hasher.update(&bytes);
        self.block.extend_from_slice(&bytes);
        if self.block.len() < BLOCK_BYTES {
            return Ok(());
        }
        self.wait_for_write().await?;
        let append = self.append();
        self.writing = Some(tokio::task::spawn_blocking(append));
        Ok(())
    }

    /// The digests of the bytes so far.
    pub fn digests(&self) -> Digests {
        self.hasher.clone().finish()
    }

    /// The blocking write of the bytes that were collected. The first one creates the file.
    fn append(&mut self) -> impl FnOnce() -> io::Result<File> + Send + use<> {
        let (file, block) = (self.file.take(), std::mem::take(&mut self.block));
        let (path, running) = (self.path.clone(), Arc::clone(&self.running));
        move || {
            let mut file = match file {
                Some(file) => file,
                None => OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?,
            };
            file.write_all(&block)?;
            drop(running);
            Ok(file)
        }
    }

    async fn wait_for_write(&mut self) -> Result<()> {
        if let Some(writing) = self.writing.take() {
            let written = writing.await.unwrap_or_else(|failed| Err(io::Error::other(failed)));
            self.file = Some(written.map_err(Error::io("write a file"))?);
        }
        Ok(())
    }
}

impl LocalDisk {
    pub(super) fn begin(&self, id: FileId) -> ArrivingFile {
        self.arrivals.running.lock().insert(id);
        ArrivingFile {
            path: self.arriving(id),
            file: None,
            block: Vec::new(),
            hasher: Hasher::default(),
            writing: None,
            running: Arc::new(Running(Arc::clone(&self.arrivals), id)),
        }
    }

    /// Makes the bytes and the name durable. `fsync` of a new file need not make its name durable.
    pub(super) async fn persist(&self, arriving: &mut ArrivingFile) -> Result<PersistedFile> {
        arriving.wait_for_write().await?;
        let append = arriving.append();
        let synced = off_thread(move || {
            let synced = append().and_then(|file| file.sync_data());
            synced.map_err(Error::io("write and sync a file"))
        });
        synced.await?;
        let names = self.arrivals.names.run((), |files| sync_names(self.root.join(ARRIVING), files.len())).await;
        let cancelled = || Err(Arc::new(io::Error::other("the request that ran the sync was cancelled")));
        names.unwrap_or_else(cancelled).map_err(|error| {
            // `io::Error` is not `Clone`. A copy with the same code still says whether the disk is full.
            let copy = error.raw_os_error().map(io::Error::from_raw_os_error);
            Error::io(format!("sync {ARRIVING}"))(copy.unwrap_or_else(|| io::Error::other(error)))
        })?;
        Ok(PersistedFile { digests: arriving.digests(), location: format!("{STORED}/{}", arriving.running.1) })
    }

    /// Waits for the last write, and removes the file. Nothing refers to it, so its removal need not be durable.
    pub(super) async fn stop_and_remove(&self, mut arriving: ArrivingFile) -> Result<()> {
        // If a write failed, the file may exist.
        let _ = arriving.wait_for_write().await;
        self.remove_arriving(arriving.running.1).await
    }

    pub(super) async fn remove_arriving(&self, id: FileId) -> Result<()> {
        let path = self.arriving(id);
        off_thread(move || unless_missing(fs::remove_file(&path), || format!("remove {}", path.display()))).await
    }

    /// Moves a file from `arriving/` to `stored/`. After a power failure it may be at either place, and readers look at both.
    pub(super) async fn keep(&self, id: FileId) -> Result<()> {
        let (from, to) = (self.arriving(id), self.root.join(STORED).join(id.0.to_string()));
        off_thread(move || {
            let renamed = fs::rename(&from, &to);
            unless_missing(renamed, || format!("rename {} to {}", from.display(), to.display()))
        })
        .await
    }

    /// The files in `arriving/` that no request of this process is storing.
    pub(super) async fn abandoned(&self) -> Result<Vec<AbandonedFile>> {
        let listed = dir_entries::list(self.root.join(ARRIVING)).await?;
        // After the list: a file that is new since then is not in it.
        let mut found = Vec::new();
        {
            let running = self.arrivals.running.lock();
            found.extend(listed.into_iter().map(FileId).filter(|id| !running.contains(id)));
        }
        let this = self.clone();
        off_thread(move || Ok(found.into_iter().filter_map(|id| this.with_age(id)).collect())).await
    }

    /// `None` if the file has been moved or removed.
    fn with_age(&self, id: FileId) -> Option<AbandonedFile> {
        let modified = fs::metadata(self.arriving(id)).and_then(|file| file.modified()).ok()?;
        let age = SystemTime::now().duration_since(modified).unwrap_or(Duration::ZERO);
        Some(AbandonedFile { id, age })
    }

    pub(super) fn arriving(&self, id: FileId) -> PathBuf {
        self.root.join(ARRIVING).join(id.0.to_string())
    }
}

/// Where a stored file can be, in the order in which to look. A small file moves from `arriving/` to `stored/`, maybe between
/// two looks.
pub(super) fn places(root: &Path, location: &str) -> [PathBuf; 3] {
    let stored = root.join(location);
    let arriving = root.join(ARRIVING).join(stored.file_name().unwrap_or_default());
    [stored.clone(), arriving, stored]
}

/// Makes all names durable that were created before, for a batch of `files` files.
async fn sync_names(folder: PathBuf, files: usize) -> Vec<Result<(), Arc<io::Error>>> {
    let synced = tokio::task::spawn_blocking(move || File::open(folder)?.sync_all()).await;
    let synced = synced.unwrap_or_else(|failed| Err(io::Error::other(failed))).map_err(Arc::new);
    vec![synced; files]
}

fn unless_missing(done: io::Result<()>, action: impl FnOnce() -> String) -> Result<()> {
    match done {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(Error::io(action())(error)),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::storage::SyncParts;

    #[tokio::test]
    async fn a_piece_keeps_no_buffer_alive() {
        let folder = tempfile::tempdir().unwrap();
        let mut arriving = LocalDisk::open(folder.path(), SyncParts::Os).unwrap().begin(FileId(Uuid::now_v7()));
        let buffer = Bytes::from(vec![7; 8 * 1024]);
        arriving.push(buffer.slice(..1)).await.unwrap();
        assert!(buffer.is_unique(), "the file keeps 8 KiB for one byte");
    }
}

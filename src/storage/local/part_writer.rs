//! Writes one part to the local disk.
//!
//! Owns hashing and writing a part's bytes. The async thread hashes each piece as it arrives, which takes about 100 µs. A
//! blocking thread writes one block while the next one arrives, so at most two blocks of a part are in memory. Does not own
//! the session's file: that is the parent module.

use std::{fs::File, io, num::NonZeroU64, os::unix::fs::FileExt, sync::Arc};

use async_trait::async_trait;
use bytes::Bytes;
use serde::Deserialize;
use tokio::task::JoinHandle;

use super::{Error, PartWriter, Result, WriteGuard, open_file::OpenFile};
use crate::{
    domain::{Digests, Hasher},
    storage::{PersistedPart, PersistedTail, StagedPart},
};

/// Size of the block that is collected before a blocking thread writes it.
const BLOCK_BYTES: usize = 256 * 1024;

/// When a part's bytes are durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SyncParts {
    /// Before the part is acknowledged.
    Always,
    /// Whenever the operating system writes them. A power failure can lose acknowledged parts.
    Os,
}

pub(super) struct LocalPartWriter {
    upload: Arc<OpenFile>,
    sync: SyncParts,
    offset: u64,
    block: Vec<Bytes>,
    block_bytes: usize,
    hasher: Hasher,
    writing: Option<JoinHandle<io::Result<()>>>,
    write_guard: WriteGuard,
}

struct LocalStagedPart {
    upload: Arc<OpenFile>,
    sync: SyncParts,
    digests: Digests,
    write_guard: WriteGuard,
}

#[async_trait]
impl PartWriter for LocalPartWriter {
    async fn push(&mut self, bytes: Bytes) -> Result<()> {
        self.hasher.update(&bytes);
        self.block_bytes += bytes.len();
        self.block.push(bytes);
        if self.block_bytes >= BLOCK_BYTES { self.write_block().await } else { Ok(()) }
    }

    async fn finish(mut self: Box<Self>) -> Result<Box<dyn StagedPart>> {
        self.write_block().await?;
        self.wait_for_write().await?;
        Ok(Box::new(LocalStagedPart {
            upload: self.upload,
            sync: self.sync,
            digests: self.hasher.finish(),
            write_guard: self.write_guard,
        }))
    }
}

impl LocalPartWriter {
    /// Writes from `offset` on. `hasher` has hashed the bytes of the part before it.
    pub(super) fn new(
        upload: Arc<OpenFile>,
        offset: u64,
        hasher: Hasher,
        sync: SyncParts,
        write_guard: WriteGuard,
    ) -> Self {
        Self { upload, sync, offset, block: Vec::new(), block_bytes: 0, hasher, writing: None, write_guard }
    }

    async fn write_block(&mut self) -> Result<()> {
        self.wait_for_write().await?;
        let pieces = std::mem::take(&mut self.block);
        let (begin, mut offset) = (self.offset, self.offset);
        self.offset += std::mem::take(&mut self.block_bytes) as u64;
        let (upload, write_guard) = (Arc::clone(&self.upload), Arc::clone(&self.write_guard));
        self.writing = Some(tokio::task::spawn_blocking(move || {
            upload.writes.run(&upload.file, || {
                for piece in pieces {
                    upload.file.write_all_at(&piece, offset)?;
                    offset += piece.len() as u64;
                }
                Ok(())
            })?;
            start_writeback(&upload.file, begin, offset - begin);
            drop(write_guard);
            Ok(())
        }));
        Ok(())
    }

    async fn wait_for_write(&mut self) -> Result<()> {
        if let Some(writing) = self.writing.take() {
            let written = writing.await.unwrap_or_else(|failed| Err(io::Error::other(failed)));
            written.map_err(Error::io("write a part"))?;
        }
        Ok(())
    }
}

#[async_trait]
impl StagedPart for LocalStagedPart {
    fn digests(&self) -> Digests {
        self.digests
    }

    async fn persist(self: Box<Self>) -> Result<PersistedPart> {
        let write_guard = self.sync().await?;
        Ok(PersistedPart { write_guard, etag: None, bytes: None })
    }

    /// The tail is at its place in the file.
    async fn persist_as_tail(self: Box<Self>) -> Result<PersistedTail> {
        let write_guard = self.sync().await?;
        Ok(PersistedTail { write_guard, location: None })
    }
}

impl LocalStagedPart {
    async fn sync(self) -> Result<WriteGuard> {
        let Self { upload, write_guard, sync, .. } = self;
        if sync == SyncParts::Always {
            let synced = upload.syncs.run((), |parts| sync_file(Arc::clone(&upload), parts.len())).await;
            let cancelled = || Err(Arc::new(io::Error::other("the request that ran the sync was cancelled")));
            synced.unwrap_or_else(cancelled).map_err(|error| {
                // `io::Error` is not `Clone`. A copy with the same code still says whether the disk is full.
                let copy = |code| io::Error::from_raw_os_error(code);
                Error::io("sync parts")(error.raw_os_error().map_or_else(|| io::Error::other(error), copy))
            })?;
        }
        Ok(write_guard)
    }
}

/// Makes all earlier writes to the file durable, for a batch of `parts` parts. Syncs data and size, which are enough to read
/// the bytes back, but not the file's times.
async fn sync_file(upload: Arc<OpenFile>, parts: usize) -> Vec<Result<(), Arc<io::Error>>> {
    let synced = tokio::task::spawn_blocking(move || upload.file.sync_data()).await;
    let synced = synced.unwrap_or_else(|failed| Err(io::Error::other(failed))).map_err(Arc::new);
    vec![synced; parts]
}

/// Makes the kernel start to write these bytes to the disk while more bytes arrive. The final sync then has less left to
/// write; with one connection this is 40 % faster. `DONTNEED` starts writeback of dirty pages. It would also drop clean
/// pages, but these pages are still dirty.
fn start_writeback(file: &File, begin: u64, len: u64) {
    #[cfg(any(target_os = "linux", target_os = "android"))]
    let _ = rustix::fs::fadvise(file, begin, NonZeroU64::new(len), rustix::fs::Advice::DontNeed);
}

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

/// Size of the block that is collected before a blocking thread writes it. In a measurement with 4 connections, blocks of
/// 256 KiB took 7 % more CPU time, for more changes between threads. Blocks of 1 MiB took no less, and twice the memory.
const BLOCK_BYTES: usize = 512 * 1024;

/// Size of one write to the page cache. For a larger one, Linux takes larger pages. In the virtual machine of the measurement
/// these came from memory that the host had taken back, and a GiB took up to 1 s more of CPU time.
const WRITE_BYTES: usize = 128 * 1024;

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
    /// Where the block begins in the file.
    offset: u64,
    /// A copy of the received bytes: a received piece of one byte can keep a buffer of many kilobytes alive.
    block: Vec<u8>,
    hasher: Hasher,
    /// Returns the block that it has written, for reuse.
    writing: Option<JoinHandle<io::Result<Vec<u8>>>>,
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
    async fn push(&mut self, mut bytes: Bytes) -> Result<()> {
        self.hasher.update(&bytes);
        while self.block.len() + bytes.len() >= BLOCK_BYTES {
            self.block.extend_from_slice(&bytes.split_to(BLOCK_BYTES - self.block.len()));
            self.write_block().await?;
        }
        self.block.extend_from_slice(&bytes);
        Ok(())
    }

    async fn finish(mut self: Box<Self>) -> Result<Box<dyn StagedPart>> {
        if !self.block.is_empty() {
            self.write_block().await?;
        }
        self.written_block().await?;
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
        Self { upload, sync, offset, block: Vec::new(), hasher, writing: None, write_guard }
    }

    /// Starts to write the block, after the one before it.
    async fn write_block(&mut self) -> Result<()> {
        let next = self.written_block().await?;
        let (mut block, offset) = (std::mem::replace(&mut self.block, next), self.offset);
        let bytes = block.len() as u64;
        self.offset += bytes;
        let (upload, write_guard) = (Arc::clone(&self.upload), Arc::clone(&self.write_guard));
        self.writing = Some(tokio::task::spawn_blocking(move || {
            upload.writes.run(&upload.file, || {
                let offsets = (offset..).step_by(WRITE_BYTES);
                offsets.zip(block.chunks(WRITE_BYTES)).try_for_each(|(at, bytes)| upload.file.write_all_at(bytes, at))
            })?;
            start_writeback(&upload.file, offset, bytes);
            drop(write_guard);
            block.clear();
            Ok(block)
        }));
        Ok(())
    }

    /// Waits for the running write. Returns an empty block.
    async fn written_block(&mut self) -> Result<Vec<u8>> {
        let Some(writing) = self.writing.take() else { return Ok(Vec::new()) };
        let written = writing.await.unwrap_or_else(|failed| Err(io::Error::other(failed)));
        written.map_err(Error::io("write a part"))
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{group_commit::GroupCommit, storage::local::mtime_mark::WriteTracker};

    fn writer(file: File) -> LocalPartWriter {
        let upload = Arc::new(OpenFile { file, writes: WriteTracker::default(), syncs: GroupCommit::default() });
        LocalPartWriter::new(upload, 0, Hasher::default(), SyncParts::Os, Arc::new(()))
    }

    #[tokio::test]
    async fn a_piece_keeps_no_buffer_alive() {
        let mut writer = writer(tempfile::tempfile().unwrap());
        let buffer = Bytes::from(vec![7; 8 * 1024]);
        writer.push(buffer.slice(..1)).await.unwrap();
        assert!(buffer.is_unique(), "the writer keeps 8 KiB for one byte");
    }

    #[tokio::test]
    async fn pieces_of_any_size_are_written_in_order_and_hashed() {
        let file = tempfile::tempfile().unwrap();
        let sent: Vec<u8> = (0..=250).cycle().take(3 * BLOCK_BYTES + 5).collect();
        let mut writer = writer(file.try_clone().unwrap());
        let (mut rest, sizes) = (Bytes::from(sent.clone()), [1, BLOCK_BYTES - 1, BLOCK_BYTES, 2, usize::MAX]);
        for size in sizes {
            writer.push(rest.split_to(size.min(rest.len()))).await.unwrap();
        }
        let staged = Box::new(writer).finish().await.unwrap();
        assert_eq!(staged.digests(), Digests::of(&sent));
        let mut stored = vec![0; sent.len()];
        file.read_exact_at(&mut stored, 0).unwrap();
        assert!(stored == sent && file.metadata().unwrap().len() == sent.len() as u64);
    }
}

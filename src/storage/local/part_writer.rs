//! Writes one part to the local disk.
//!
//! Owns hashing and writing a part's bytes. The async thread hashes each piece as it arrives, which takes about 100 µs. A
//! blocking thread writes one block while the next one arrives, so at most two blocks of a part are in memory. The last bytes are
//! written by the thread that syncs the file. Does not own the session's file: that is the parent module.

use std::{fs::File, io, num::NonZeroU64, os::unix::fs::FileExt, sync::Arc};

use async_trait::async_trait;
use bytes::Bytes;
use serde::Deserialize;
use tokio::task::JoinHandle;

use super::{
    Error, PartWriter, Result, WriteGuard,
    blocks::{BLOCK_BYTES, Block, Blocks},
    open_file::OpenFile,
};
use crate::{
    domain::{Digests, Hasher},
    storage::{PersistedPart, PersistedTail, StagedPart},
};

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
    block: Option<Block>,
    blocks: Blocks,
    hasher: Hasher,
    writing: Option<JoinHandle<io::Result<()>>>,
    write_guard: WriteGuard,
}

struct LocalStagedPart {
    upload: Arc<OpenFile>,
    sync: SyncParts,
    digests: Digests,
    last: UnwrittenBlock,
}

/// A block of a part, and its place in the file. Its guard keeps other requests for the part waiting until it is written.
#[derive(Debug)]
pub(super) struct UnwrittenBlock {
    block: Option<Block>,
    offset: u64,
    write_guard: WriteGuard,
}

#[async_trait]
impl PartWriter for LocalPartWriter {
    async fn push(&mut self, mut bytes: Bytes) -> Result<()> {
        self.hasher.update(&bytes);
        while !bytes.is_empty() {
            let block = self.block.get_or_insert_with(|| self.blocks.take());
            let room = BLOCK_BYTES - block.len();
            block.extend_from_slice(&bytes.split_to(room.min(bytes.len())));
            if block.len() == BLOCK_BYTES {
                self.write_block().await?;
            }
        }
        Ok(())
    }

    async fn finish(mut self: Box<Self>) -> Result<Box<dyn StagedPart>> {
        self.written().await?;
        let last = self.take_block();
        let Self { upload, sync, hasher, .. } = *self;
        Ok(Box::new(LocalStagedPart { upload, sync, digests: hasher.finish(), last }))
    }
}

impl LocalPartWriter {
    /// Writes from `offset` on. `hasher` has hashed the bytes of the part before it.
    pub(super) fn new(
        upload: Arc<OpenFile>,
        offset: u64,
        hasher: Hasher,
        sync: SyncParts,
        blocks: Blocks,
        write_guard: WriteGuard,
    ) -> Self {
        Self { upload, sync, offset, block: None, blocks, hasher, writing: None, write_guard }
    }

    /// Starts to write the block, after the one before it.
    async fn write_block(&mut self) -> Result<()> {
        self.written().await?;
        let (unwritten, upload) = (self.take_block(), Arc::clone(&self.upload));
        self.writing = Some(tokio::task::spawn_blocking(move || {
            unwritten.write(&upload)?;
            start_writeback(&upload.file, &unwritten);
            Ok(())
        }));
        Ok(())
    }

    fn take_block(&mut self) -> UnwrittenBlock {
        let (block, offset) = (self.block.take(), self.offset);
        self.offset += block.as_ref().map_or(0, |block| block.len() as u64);
        UnwrittenBlock { block, offset, write_guard: Arc::clone(&self.write_guard) }
    }

    /// Waits for the running write.
    async fn written(&mut self) -> Result<()> {
        let Some(writing) = self.writing.take() else { return Ok(()) };
        let written = writing.await.unwrap_or_else(|failed| Err(io::Error::other(failed)));
        written.map_err(Error::io("write a part"))
    }
}

impl UnwrittenBlock {
    fn bytes(&self) -> &[u8] {
        self.block.as_deref().map_or(&[], Vec::as_slice)
    }

    fn write(&self, upload: &OpenFile) -> io::Result<()> {
        if self.bytes().is_empty() {
            return Ok(());
        }
        upload.writes.run(&upload.file, || {
            let offsets = (self.offset..).step_by(WRITE_BYTES);
            offsets
                .zip(self.bytes().chunks(WRITE_BYTES))
                .try_for_each(|(at, bytes)| upload.file.write_all_at(bytes, at))
        })
    }
}

#[async_trait]
impl StagedPart for LocalStagedPart {
    fn digests(&self) -> Digests {
        self.digests
    }

    async fn persist(self: Box<Self>) -> Result<PersistedPart> {
        let write_guard = self.write_last().await?;
        Ok(PersistedPart { write_guard, etag: None, bytes: None })
    }

    /// The tail is at its place in the file.
    async fn persist_as_tail(self: Box<Self>) -> Result<PersistedTail> {
        let write_guard = self.write_last().await?;
        Ok(PersistedTail { write_guard, location: None })
    }
}

impl LocalStagedPart {
    /// Writes the last bytes and syncs the file.
    async fn write_last(self) -> Result<WriteGuard> {
        let Self { upload, last, sync, .. } = self;
        let write_guard = Arc::clone(&last.write_guard);
        let written = upload.syncs.run(last, |blocks| write_and_sync(Arc::clone(&upload), blocks, sync)).await;
        let cancelled = || Err(Arc::new(io::Error::other("the request that ran the sync was cancelled")));
        written.unwrap_or_else(cancelled).map_err(|error| {
            // `io::Error` is not `Clone`. A copy with the same code still says whether the disk is full.
            let copy = |code| io::Error::from_raw_os_error(code);
            Error::io("write and sync a part")(error.raw_os_error().map_or_else(|| io::Error::other(error), copy))
        })?;
        Ok(write_guard)
    }
}

/// Writes the last blocks of several parts, and makes all earlier writes to the file durable. Syncs data and size, which are
/// enough to read the bytes back, but not the file's times. Returns one result for each block.
async fn write_and_sync(
    upload: Arc<OpenFile>,
    blocks: Vec<UnwrittenBlock>,
    sync: SyncParts,
) -> Vec<Result<(), Arc<io::Error>>> {
    let count = blocks.len();
    let write = move || {
        let written: Vec<_> = blocks.into_iter().map(|block| block.write(&upload).map_err(Arc::new)).collect();
        let synced = match sync {
            SyncParts::Always => upload.file.sync_data().map_err(Arc::new),
            SyncParts::Os => Ok(()),
        };
        written.into_iter().map(|written| written.and_then(|()| synced.clone())).collect()
    };
    let failed = |failed| vec![Err(Arc::new(io::Error::other(failed))); count];
    tokio::task::spawn_blocking(write).await.unwrap_or_else(failed)
}

/// Makes the kernel start to write these bytes to the disk while more bytes arrive. The final sync then has less left to
/// write; with one connection this is 40 % faster. `DONTNEED` starts writeback of dirty pages. It would also drop clean
/// pages, but these pages are still dirty.
fn start_writeback(file: &File, written: &UnwrittenBlock) {
    #[cfg(any(target_os = "linux", target_os = "android"))]
    let _ = {
        let len = NonZeroU64::new(written.bytes().len() as u64);
        rustix::fs::fadvise(file, written.offset, len, rustix::fs::Advice::DontNeed)
    };
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{group_commit::GroupCommit, storage::local::mtime_mark::Writes};

    fn writer(file: File) -> LocalPartWriter {
        let upload = Arc::new(OpenFile { file, writes: Writes::default(), syncs: GroupCommit::default() });
        LocalPartWriter::new(upload, 0, Hasher::default(), SyncParts::Os, Blocks::default(), Arc::new(()))
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
        drop(staged.persist().await.unwrap());
        let mut stored = vec![0; sent.len()];
        file.read_exact_at(&mut stored, 0).unwrap();
        assert!(stored == sent && file.metadata().unwrap().len() == sent.len() as u64);
    }
}

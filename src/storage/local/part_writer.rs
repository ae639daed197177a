//! One part on its way to the disk.
//!
//! Owns the hashing and writing of a part's bytes. They are hashed as they come, in pieces of some 100 us, and written off
//! the async threads, overlapped with receiving more. At most two blocks of a part are in memory.

use std::{fs::File, io, num::NonZeroU64, os::unix::fs::FileExt, sync::Arc};

use async_trait::async_trait;
use bytes::Bytes;
use serde::Deserialize;
use sha2::{Digest, Sha256};
use tokio::task::JoinHandle;

use super::{Error, PartWriter, Result, Upload, WriteGuard};
use crate::{
    domain::{Part, Sha256Digest},
    storage::{PersistedPart, StagedPart},
};

/// How much is gathered before it is handed to a thread.
const BLOCK_BYTES: usize = 256 * 1024;

/// When a part's bytes are durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SyncParts {
    /// Before the part is acknowledged.
    Always,
    /// When the operating system writes them.
    Os,
}

pub(super) struct LocalPartWriter {
    upload: Arc<Upload>,
    sync: SyncParts,
    offset: u64,
    gathered: Vec<Bytes>,
    gathered_bytes: usize,
    hasher: Sha256,
    writing: Option<JoinHandle<io::Result<()>>>,
    write_guard: WriteGuard,
}

struct LocalStagedPart {
    upload: Arc<Upload>,
    sync: SyncParts,
    sha256: Sha256Digest,
    write_guard: WriteGuard,
}

#[async_trait]
impl PartWriter for LocalPartWriter {
    async fn push(&mut self, bytes: Bytes) -> Result<()> {
        self.hasher.update(&bytes);
        self.gathered_bytes += bytes.len();
        self.gathered.push(bytes);
        if self.gathered_bytes >= BLOCK_BYTES { self.write_gathered().await } else { Ok(()) }
    }

    async fn finish(mut self: Box<Self>) -> Result<Box<dyn StagedPart>> {
        self.write_gathered().await?;
        self.written().await?;
        Ok(Box::new(LocalStagedPart {
            upload: self.upload,
            sync: self.sync,
            sha256: self.hasher.into(),
            write_guard: self.write_guard,
        }))
    }
}

impl LocalPartWriter {
    pub(super) fn new(upload: Arc<Upload>, part: Part, sync: SyncParts, write_guard: WriteGuard) -> Self {
        Self {
            upload,
            sync,
            offset: part.offset_bytes,
            gathered: Vec::new(),
            gathered_bytes: 0,
            hasher: Sha256::new(),
            writing: None,
            write_guard,
        }
    }

    async fn write_gathered(&mut self) -> Result<()> {
        self.written().await?;
        let blocks = std::mem::take(&mut self.gathered);
        let (begin, mut offset) = (self.offset, self.offset);
        self.offset += std::mem::take(&mut self.gathered_bytes) as u64;
        let (upload, write_guard) = (Arc::clone(&self.upload), Arc::clone(&self.write_guard));
        self.writing = Some(tokio::task::spawn_blocking(move || {
            upload.writes.run(&upload.file, || {
                for block in blocks {
                    upload.file.write_all_at(&block, offset)?;
                    offset += block.len() as u64;
                }
                Ok(())
            })?;
            begin_to_write(&upload.file, begin, offset - begin);
            drop(write_guard);
            Ok(())
        }));
        Ok(())
    }

    async fn written(&mut self) -> Result<()> {
        if let Some(writing) = self.writing.take() {
            let written = writing.await.unwrap_or_else(|failed| Err(io::Error::other(failed)));
            written.map_err(Error::io("write a part"))?;
        }
        Ok(())
    }
}

#[async_trait]
impl StagedPart for LocalStagedPart {
    fn sha256(&self) -> Sha256Digest {
        self.sha256
    }

    async fn persist(self: Box<Self>) -> Result<PersistedPart> {
        let Self { upload, write_guard, sync, .. } = *self;
        if sync == SyncParts::Always {
            let synced = upload.syncs.run((), |parts| sync_file(Arc::clone(&upload), parts.len())).await;
            let synced = synced.unwrap_or_else(|| Err(Arc::new(io::Error::other("a sync was given up"))));
            synced.map_err(|error| {
                let again = |code| io::Error::from_raw_os_error(code);
                Error::io("sync parts")(error.raw_os_error().map_or_else(|| io::Error::other(error), again))
            })?;
        }
        Ok(PersistedPart { write_guard, etag: None, bytes: None })
    }
}

/// Makes all that was written to the file before durable: data and size, not times, which is what it takes to read it again.
async fn sync_file(upload: Arc<Upload>, parts: usize) -> Vec<Result<(), Arc<io::Error>>> {
    let synced = tokio::task::spawn_blocking(move || upload.file.sync_data()).await;
    let synced = synced.unwrap_or_else(|failed| Err(io::Error::other(failed))).map_err(Arc::new);
    vec![synced; parts]
}

/// Has the kernel begin to write these bytes to the disk while more arrive, so that the sync at the end has less to wait
/// for: one connection is 40% faster. DONTNEED does that before it drops what is written already, which these are not.
fn begin_to_write(file: &File, begin: u64, len: u64) {
    #[cfg(any(target_os = "linux", target_os = "android"))]
    let _ = rustix::fs::fadvise(file, begin, NonZeroU64::new(len), rustix::fs::Advice::DontNeed);
}

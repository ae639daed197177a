//! One part on its way to the disk.
//!
//! Owns the hashing and writing of a part's bytes, off the async threads and overlapped with receiving them. At most two
//! blocks of a part are in memory.

use std::{io, os::unix::fs::FileExt, sync::Arc};

use async_trait::async_trait;
use bytes::Bytes;
use sha2::{Digest, Sha256};
use tokio::task::JoinHandle;

use super::{Error, Held, PartWriter, Result, Upload};
use crate::{
    domain::{Part, Sha256Digest},
    storage::{PersistedPart, StagedPart},
};

/// How much is gathered before it is handed to a thread.
const BLOCK_BYTES: usize = 256 * 1024;

pub(super) struct LocalPartWriter {
    upload: Arc<Upload>,
    syncs: bool,
    offset: u64,
    gathered: Vec<Bytes>,
    gathered_bytes: usize,
    hasher: Sha256,
    writing: Option<JoinHandle<io::Result<Sha256>>>,
    held: Held,
}

struct LocalStagedPart {
    upload: Arc<Upload>,
    syncs: bool,
    sha256: Sha256Digest,
    held: Held,
}

#[async_trait]
impl PartWriter for LocalPartWriter {
    async fn push(&mut self, bytes: Bytes) -> Result<()> {
        self.gathered_bytes += bytes.len();
        self.gathered.push(bytes);
        if self.gathered_bytes >= BLOCK_BYTES { self.write_gathered().await } else { Ok(()) }
    }

    async fn finish(mut self: Box<Self>) -> Result<Box<dyn StagedPart>> {
        self.write_gathered().await?;
        self.written().await?;
        Ok(Box::new(LocalStagedPart {
            upload: self.upload,
            syncs: self.syncs,
            sha256: self.hasher.into(),
            held: self.held,
        }))
    }
}

impl LocalPartWriter {
    pub(super) fn new(upload: Arc<Upload>, part: Part, syncs: bool, held: Held) -> Self {
        Self {
            upload,
            syncs,
            offset: part.offset_bytes,
            gathered: Vec::new(),
            gathered_bytes: 0,
            hasher: Sha256::new(),
            writing: None,
            held,
        }
    }

    async fn write_gathered(&mut self) -> Result<()> {
        self.written().await?;
        let blocks = std::mem::take(&mut self.gathered);
        let mut offset = self.offset;
        self.offset += std::mem::take(&mut self.gathered_bytes) as u64;
        let (upload, mut hasher) = (Arc::clone(&self.upload), std::mem::take(&mut self.hasher));
        let held = Arc::clone(&self.held);
        self.writing = Some(tokio::task::spawn_blocking(move || {
            for block in blocks {
                hasher.update(&block);
                upload.file.write_all_at(&block, offset)?;
                offset += block.len() as u64;
            }
            drop(held);
            Ok(hasher)
        }));
        Ok(())
    }

    async fn written(&mut self) -> Result<()> {
        if let Some(writing) = self.writing.take() {
            let hasher = writing.await.unwrap_or_else(|failed| Err(io::Error::other(failed)));
            self.hasher = hasher.map_err(Error::io("write a part"))?;
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
        let Self { upload, held, syncs, .. } = *self;
        if syncs {
            let synced = upload.syncs.run((), |parts| sync(Arc::clone(&upload), parts.len())).await;
            let synced = synced.unwrap_or_else(|| Err(Arc::new(io::Error::other("a sync was given up"))));
            synced.map_err(|error| {
                let again = |code| io::Error::from_raw_os_error(code);
                Error::io("sync parts")(error.raw_os_error().map_or_else(|| io::Error::other(error), again))
            })?;
        }
        Ok(PersistedPart { held, etag: None, bytes: None })
    }
}

/// Makes all that was written to the file before durable: data and size, not times, which is what it takes to read it again.
async fn sync(upload: Arc<Upload>, parts: usize) -> Vec<Result<(), Arc<io::Error>>> {
    let synced = tokio::task::spawn_blocking(move || upload.file.sync_data()).await;
    let synced = synced.unwrap_or_else(|failed| Err(io::Error::other(failed))).map_err(Arc::new);
    vec![synced; parts]
}

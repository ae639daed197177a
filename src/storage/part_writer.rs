//! One part on its way to the disk.
//!
//! Owns the hashing and writing of a part's bytes, off the async threads and overlapped with receiving them. At most two
//! blocks of a part are in memory.

use std::{any::Any, fs::File, io, os::unix::fs::FileExt, sync::Arc};

use bytes::Bytes;
use sha2::{Digest, Sha256};
use tokio::task::JoinHandle;

use super::{Error, LocalDisk, Result, off_thread};
use crate::domain::{Part, Session, Sha256Digest};

/// How much is gathered before it is handed to a thread.
const BLOCK_BYTES: usize = 256 * 1024;

/// Takes a part's bytes in order. Nothing is durable, and nobody may be told so, before [`StagedPart::sync`].
#[derive(Debug)]
pub struct PartWriter {
    file: Arc<File>,
    offset: u64,
    gathered: Vec<Bytes>,
    gathered_bytes: usize,
    hasher: Sha256,
    writing: Option<JoinHandle<io::Result<Sha256>>>,
    held: Held,
}

/// Kept alive until the last write has ended, also when the request that began it is gone.
type Held = Arc<dyn Any + Send + Sync>;

/// A part whose bytes are all written, but not yet durable.
#[derive(Debug)]
pub struct StagedPart {
    file: Arc<File>,
    sha256: Sha256Digest,
    held: Held,
}

impl LocalDisk {
    /// Begins to write a part. `held` is dropped when nothing will be written any more.
    pub async fn part_writer(&self, session: &Session, part: Part, held: Held) -> Result<PartWriter> {
        let (this, session) = (self.clone(), session.clone());
        let file = off_thread(move || this.open_for_parts(&session)).await?;
        Ok(PartWriter {
            file: Arc::new(file),
            offset: part.offset_bytes,
            gathered: Vec::new(),
            gathered_bytes: 0,
            hasher: Sha256::new(),
            writing: None,
            held,
        })
    }
}

impl PartWriter {
    /// Takes the next bytes; waits while two blocks are in memory.
    pub async fn push(&mut self, bytes: Bytes) -> Result<()> {
        self.gathered_bytes += bytes.len();
        self.gathered.push(bytes);
        if self.gathered_bytes >= BLOCK_BYTES { self.write_gathered().await } else { Ok(()) }
    }

    /// Waits until all bytes are written.
    pub async fn finish(mut self) -> Result<StagedPart> {
        self.write_gathered().await?;
        self.written().await?;
        Ok(StagedPart { file: self.file, sha256: self.hasher.into(), held: self.held })
    }

    async fn write_gathered(&mut self) -> Result<()> {
        self.written().await?;
        let blocks = std::mem::take(&mut self.gathered);
        let mut offset = self.offset;
        self.offset += std::mem::take(&mut self.gathered_bytes) as u64;
        let (file, mut hasher) = (Arc::clone(&self.file), std::mem::take(&mut self.hasher));
        let held = Arc::clone(&self.held);
        self.writing = Some(tokio::task::spawn_blocking(move || {
            for block in blocks {
                hasher.update(&block);
                file.write_all_at(&block, offset)?;
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

impl StagedPart {
    /// The SHA-256 of the bytes written.
    pub fn sha256(&self) -> Sha256Digest {
        self.sha256
    }

    /// Makes the bytes durable: when this returns, they survive a power cut. What it answers keeps the part's claim.
    pub async fn sync(self) -> Result<Held> {
        let Self { file, held, .. } = self;
        // Data and size, not times: all that is needed to read the bytes again.
        off_thread(move || file.sync_data().map_err(Error::io("sync a part"))).await?;
        Ok(held)
    }
}

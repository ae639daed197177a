//! One part on its way to an object store: gathered whole, then put.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use object_store::{PutPayload, multipart::MultipartStore, path::Path};

use super::{
    answers::{in_time, longest_put},
    memory::Taken,
    puts::Puts,
};
use crate::{
    domain::{Part, Sha256Digest},
    storage::{BufferedBytes, PartWriter, PersistedPart, Result, StagedPart, WriteGuard, off_thread},
};

/// Where a part goes.
pub(super) struct Target {
    pub(super) uploads: Arc<dyn MultipartStore>,
    pub(super) puts: Arc<Puts>,
    pub(super) path: Path,
    pub(super) upload_id: String,
    pub(super) part: Part,
    pub(super) memory: Taken,
    pub(super) write_guard: WriteGuard,
}

pub(super) struct ObjectPartWriter {
    target: Target,
    bytes: BytesMut,
}

struct ObjectStagedPart {
    target: Target,
    bytes: Bytes,
    sha256: Sha256Digest,
}

impl ObjectPartWriter {
    pub(super) fn new(target: Target) -> Self {
        // Copied into one piece of exactly its size: pieces as they come can each keep a larger buffer alive.
        let bytes = BytesMut::with_capacity(usize::try_from(target.part.size_bytes).unwrap_or(0));
        Self { target, bytes }
    }
}

#[async_trait]
impl PartWriter for ObjectPartWriter {
    async fn push(&mut self, bytes: Bytes) -> Result<()> {
        self.bytes.extend_from_slice(&bytes);
        Ok(())
    }

    async fn finish(self: Box<Self>) -> Result<Box<dyn StagedPart>> {
        let bytes = self.bytes.freeze();
        let all = bytes.clone();
        let sha256 = off_thread(move || Ok(Sha256Digest::of(&all))).await?;
        Ok(Box::new(ObjectStagedPart { target: self.target, bytes, sha256 }))
    }
}

#[async_trait]
impl StagedPart for ObjectStagedPart {
    fn sha256(&self) -> Sha256Digest {
        self.sha256
    }

    async fn persist(self: Box<Self>) -> Result<PersistedPart> {
        let Self { target: Target { uploads, puts, path, upload_id, part, memory, write_guard }, bytes, .. } = *self;
        // `object_store` counts from 0.
        let index = part.number as usize - 1;
        let put = uploads.put_part(&path, &upload_id, index, PutPayload::from(bytes.clone()));
        let put = in_time("put a part", longest_put(part.size_bytes), put).await;
        puts.note(&put);
        let etag = put?.content_id;
        let (permit, may_be_kept) = memory.release();
        let bytes = BufferedBytes { bytes, may_be_kept, _memory: permit };
        Ok(PersistedPart { write_guard, etag: Some(etag), bytes: Some(bytes) })
    }
}

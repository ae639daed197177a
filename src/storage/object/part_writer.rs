//! Writes one part to an object store.
//!
//! Owns the buffer of a part: it collects the whole part in memory and then puts it. Does not own the memory budget: that is
//! `memory`.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use object_store::{PutPayload, multipart::MultipartStore, path::Path};

use super::{
    answers::{put_timeout, with_timeout},
    memory::Reservation,
    put_health::PutHealth,
};
use crate::{
    domain::{Part, Sha256Digest},
    storage::{BufferedBytes, PartWriter, PersistedPart, Result, StagedPart, WriteGuard, off_thread},
};

/// The destination of a part, and the resources that its put needs.
pub(super) struct Target {
    pub(super) uploads: Arc<dyn MultipartStore>,
    pub(super) put_health: Arc<PutHealth>,
    pub(super) path: Path,
    pub(super) upload_id: String,
    pub(super) part: Part,
    pub(super) memory: Reservation,
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
        // The bytes are copied into one buffer of the part's size. Each received piece could keep a larger buffer alive.
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
        let Self { target: Target { uploads, put_health, path, upload_id, part, memory, write_guard }, bytes, .. } =
            *self;
        // `object_store` counts parts from 0.
        let index = part.number as usize - 1;
        let put = uploads.put_part(&path, &upload_id, index, PutPayload::from(bytes.clone()));
        let put = with_timeout("put a part", put_timeout(part.size_bytes), put).await;
        put_health.observe(&put);
        let etag = put?.content_id;
        let (permit, may_be_kept) = memory.release_share();
        let bytes = BufferedBytes { bytes, may_be_kept, _memory: permit };
        Ok(PersistedPart { write_guard, etag: Some(etag), bytes: Some(bytes) })
    }
}

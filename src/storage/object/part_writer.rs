//! Writes one part to an object store.
//!
//! Owns the buffer of a part: it collects the whole part in memory and then puts it. Does not own the memory budget: that is
//! `memory`.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use object_store::{ObjectStoreExt, PutPayload, multipart::MultipartStore, path::Path};

use super::{
    ObjectStorage,
    answers::{put_timeout, with_timeout},
    memory::Reservation,
};
use crate::{
    domain::{Digests, Part, SessionId},
    storage::{BufferedBytes, PartWriter, PersistedPart, PersistedTail, Result, StagedPart, WriteGuard, off_thread},
};

/// The destination of a part, and the resources that its put needs.
pub(super) struct Target {
    pub(super) storage: ObjectStorage,
    pub(super) uploads: Arc<dyn MultipartStore>,
    pub(super) session: SessionId,
    pub(super) path: Path,
    pub(super) upload_id: String,
    pub(super) part: Part,
    pub(super) memory: Reservation,
    pub(super) write_guard: WriteGuard,
}

/// The bytes are copied into one buffer of the part's size. Each received piece could keep a larger buffer alive.
pub(super) struct ObjectPartWriter {
    pub(super) target: Target,
    pub(super) bytes: BytesMut,
}

struct ObjectStagedPart {
    target: Target,
    bytes: Bytes,
    digests: Digests,
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
        let digests = off_thread(move || Ok(Digests::of(&all))).await?;
        Ok(Box::new(ObjectStagedPart { target: self.target, bytes, digests }))
    }
}

#[async_trait]
impl StagedPart for ObjectStagedPart {
    fn digests(&self) -> Digests {
        self.digests
    }

    async fn persist(self: Box<Self>) -> Result<PersistedPart> {
        let Self { target: Target { storage, uploads, path, upload_id, part, memory, write_guard, .. }, bytes, .. } =
            *self;
        // `object_store` counts parts from 0.
        let index = part.number as usize - 1;
        let put = uploads.put_part(&path, &upload_id, index, PutPayload::from(bytes.clone()));
        let put = with_timeout("put a part", put_timeout(part.size_bytes), put).await;
        storage.put_health.observe(&put);
        let etag = put?.content_id;
        let (permit, may_be_kept) = memory.release_share();
        let bytes = BufferedBytes { bytes, may_be_kept, _memory: permit };
        Ok(PersistedPart { write_guard, etag: Some(etag), bytes: Some(bytes) })
    }

    async fn persist_as_tail(self: Box<Self>) -> Result<PersistedTail> {
        let Self { target: Target { storage, session, write_guard, .. }, bytes, .. } = *self;
        let location = ObjectStorage::new_tail(session);
        let (path, timeout) = (storage.path(&location), put_timeout(bytes.len() as u64));
        let put = with_timeout("put a tail", timeout, storage.objects.put(&path, PutPayload::from(bytes))).await;
        storage.put_health.observe(&put);
        put?;
        Ok(PersistedTail { write_guard, location: Some(location) })
    }
}

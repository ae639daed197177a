//! Computing the digests that a stored file lacks, because somebody asks for them.
//!
//! Owns the read of the file, the comparison of its bytes with the digests that are known, and how many such reads run at once:
//! one for each owner, so that no owner takes the turns of others, and a few for all. Does not own the digests that a finalize
//! computes before the file is stored: that is `prefix_hash`.

use std::{
    io::{self, ErrorKind},
    sync::Arc,
};

use futures_util::TryStreamExt;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::{Service, scope};
use crate::{
    domain::{Digests, FileId, FileRecord, Hasher, OwnerName, PartPlan, Principal, Sha256Digest, Upload},
    error::{Error, Result},
    owner_locks::{OwnerLock, OwnerLocks},
    storage,
};

/// Reads of files that run at once. The other cores receive.
const READS: usize = 2;

/// The turns of the reads.
#[derive(Debug)]
pub(super) struct DigestTurns {
    owners: OwnerLocks,
    all: Arc<Semaphore>,
}

impl Default for DigestTurns {
    fn default() -> Self {
        Self { owners: OwnerLocks::default(), all: Arc::new(Semaphore::new(READS)) }
    }
}

/// The right to read a file.
type Turn = (OwnerLock, Option<OwnedSemaphorePermit>);

impl DigestTurns {
    async fn take(&self, owner: &OwnerName) -> Turn {
        let own = self.owners.lock(owner).await;
        // The semaphore is never closed.
        (own, Arc::clone(&self.all).acquire_owned().await.ok())
    }
}

impl Service {
    /// The record of a stored file, with both digests of its bytes. Reads the file if one is not known yet. A repeated call
    /// reads nothing. If the caller goes away, a read that has begun goes on, so that the next call finds its result.
    ///
    /// # Errors
    /// `NOT_FOUND` if the caller has no such file, or it is not stored and its digests are not known. `FORBIDDEN` if the caller
    /// has a token for one upload. `BYTES_LOST` if the bytes are missing, or do not have the digests that are known.
    pub async fn digest_file(self: &Arc<Self>, principal: &Principal, id: FileId) -> Result<FileRecord> {
        let owner = scope::everything(principal)?;
        let session = self.db.session_of_file(owner, id).await?.ok_or_else(|| Error::not_found("file"))?;
        let upload = self.status(principal, session).await?;
        match upload.session.file_deleted && upload.file.sha256.is_some() {
            true => Ok(upload.file),
            false => Ok(self.learn_digests(upload).await?.file),
        }
    }

    /// The upload of a stored file, with both digests of its bytes.
    ///
    /// # Errors
    /// `NOT_FOUND` if the file is not stored and its digests are not known, `BYTES_LOST`.
    pub(super) async fn learn_digests(self: &Arc<Self>, upload: Upload) -> Result<Upload> {
        if upload.file.has_digests() {
            return Ok(upload);
        }
        // Nothing is kept of a request that goes away while it waits.
        let turn = self.digest_turns.take(&upload.session.owner).await;
        let this = Arc::clone(self);
        self.run_detached(Box::pin(async move {
            let learned = this.read_digests(&upload).await;
            drop(turn);
            learned
        }))
        .await
    }

    async fn read_digests(&self, before: &Upload) -> Result<Upload> {
        let (owner, id) = (&before.session.owner, before.session.id);
        // Another request may have computed them meanwhile.
        let upload = self.db.upload(owner, id).await?.ok_or_else(|| Error::not_found("file"))?;
        if upload.file.has_digests() {
            return Ok(upload);
        }
        let actual = self.digests_of(&upload).await?;
        let now = self.clock.now();
        let (upload, _) = self.db.change_upload(Some(owner), id, |upload| upload.learn_digests(actual, now)).await?;
        match upload.file.has_digests() {
            true => Ok(upload),
            false => Err(Error::not_found("stored file")),
        }
    }

    /// Computes the digests of a stored file, and compares its bytes with what is known of them: with one of the digests, or else
    /// with the composite digest.
    async fn digests_of(&self, Upload { session, file }: &Upload) -> Result<Digests> {
        let content = self.content(&Principal::of_owner(file.owner.clone()), file.id).await?;
        let mut bytes = self.read(&content, 0..file.size_bytes).await?;
        let is_unknown = file.sha256.is_none() && file.crc64nvme.is_none();
        let mut whole = Hasher::default();
        let mut parts =
            file.composite_sha256.filter(|_| is_unknown).map(|known| (known, PartHashes::new(session.plan)));
        while let Some(block) = bytes.try_next().await.map_err(|error| self.cut(error))? {
            whole.update(&block);
            if let Some((_, parts)) = &mut parts {
                parts.update(&block);
            }
        }
        let actual = whole.finish();
        let is_same = file.sha256.is_none_or(|known| known == actual.sha256)
            && file.crc64nvme.is_none_or(|known| known == actual.crc64nvme)
            && parts.is_none_or(|(known, parts)| known == parts.composite());
        match is_same {
            true => Ok(actual),
            false => Err(Error::bytes_lost(format!("file {}: its bytes do not have the recorded digest", file.id))),
        }
    }

    /// The error of a read that ended early.
    fn cut(&self, source: io::Error) -> storage::Error {
        let action = "read a stored file".to_owned();
        match (source.kind(), self.storage.as_folder()) {
            (ErrorKind::UnexpectedEof, _) => storage::Error::Lost(source.to_string()),
            (_, Some(_)) => storage::Error::Io { action, source },
            (_, None) => storage::Error::Store { action, source: source.into() },
        }
    }
}

/// The SHA-256 of each part of a file that is read from its beginning to its end.
struct PartHashes {
    plan: PartPlan,
    offset: u64,
    part: Hasher,
    digests: Vec<Sha256Digest>,
}

impl PartHashes {
    fn new(plan: PartPlan) -> Self {
        Self { plan, offset: 0, part: Hasher::default(), digests: Vec::new() }
    }

    fn update(&mut self, mut bytes: &[u8]) {
        while let Some(part) = self.plan.part_at(self.offset).filter(|_| !bytes.is_empty()) {
            let left = part.end() - self.offset;
            let (now, later) = bytes.split_at(usize::try_from(left).map_or(bytes.len(), |left| left.min(bytes.len())));
            self.part.update(now);
            self.offset += now.len() as u64;
            bytes = later;
            if self.offset == part.end() {
                self.digests.push(std::mem::take(&mut self.part).finish().sha256);
            }
        }
    }

    fn composite(self) -> Sha256Digest {
        Sha256Digest::composite(self.digests)
    }
}

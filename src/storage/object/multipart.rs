//! What only an object store can do: the multipart upload of a session, and its tails.
//!
//! Owns the start and the end of a multipart upload without a file, and how much memory one request may hold. Does not own its parts and its completion: those are in
//! the parent module. Does not own the objects of tails: those are in `tails`.

use async_trait::async_trait;

use super::{
    ObjectStorage, PartLimits,
    answers::{ANSWER_TIMEOUT, failed, with_timeout},
    unless_missing,
};
use crate::{
    domain::{MultipartUpload, OwnerName, PartRecord, Session, SessionId},
    storage::{HeldMemory, MultipartStorage, Result},
};

#[async_trait]
impl MultipartStorage for ObjectStorage {
    async fn start(&self, session: &Session) -> Result<MultipartUpload> {
        let path = self.path(&Self::location(session));
        let mut refusal = None;
        if let Some(checked) = self.checked.as_ref().filter(|checked| checked.may_start()) {
            match checked.start(&path).await {
                Ok(id) => return Ok(MultipartUpload { id, checks_crc64: true }),
                Err(error) => refusal = Some((checked, error)),
            }
        }
        let id = with_timeout("create an upload", ANSWER_TIMEOUT, self.uploads.create_multipart(&path)).await?;
        if let Some((checked, error)) = refusal {
            checked.give_up(&error);
        }
        Ok(MultipartUpload { id, checks_crc64: false })
    }

    fn part_limits(&self) -> PartLimits {
        self.part_limits
    }

    async fn end_upload(&self, session: &Session, first_parts: &[PartRecord]) -> Result<String> {
        let size_bytes = first_parts.iter().map(|record| record.part.size_bytes).sum();
        self.complete_with(session, first_parts, size_bytes).await
    }

    fn max_held_bytes(&self) -> u64 {
        self.held.total_bytes() / 2
    }

    async fn hold(&self, owner: &OwnerName, bytes: u64) -> Result<HeldMemory> {
        Ok(Box::new(self.held.reserve(owner, bytes).await?))
    }

    async fn discard_tail(&self, location: &str) -> Result<()> {
        self.delete_tail_at(&self.path(location)).await
    }

    async fn sessions_with_tails(&self, after: Option<SessionId>, limit: usize) -> Result<Vec<SessionId>> {
        self.sessions_with_tails(after, limit).await
    }

    async fn discard_tails(&self, session: SessionId) -> Result<()> {
        self.delete_tails(session).await
    }

    /// Succeeds if the upload does not exist. The bucket's lifecycle rule on incomplete uploads removes those that a crash
    /// left behind.
    async fn abandon(&self, session: &Session, upload_id: &str) -> Result<()> {
        let path = self.path(&Self::location(session));
        let aborted = self.uploads.abort_multipart(&path, &upload_id.to_owned()).await;
        unless_missing(aborted).map(drop).map_err(failed("abort an upload"))
    }
}

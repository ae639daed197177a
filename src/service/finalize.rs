//! Finalizing a session: making its parts one file.
//!
//! Owns the steps of a finalize: reading, hashing, completing, recording. Does not decide which step is next: that is
//! `domain::Finalize`. It decides again after every step, so a client can repeat a finalize at any point: after a
//! crash, after a lost response, or at the same time as another client. The bytes are never copied. On a local disk
//! they are hashed before they are completed. An object store returns them only after completion, so they are hashed
//! after it. In both cases this is before the session becomes COMPLETE.

use std::sync::Arc;

use super::{Service, input::parse_sha256};
use crate::{
    domain::{Actual, CompleteFile, ExpectedDigests, Finalize, Principal, Refusal, Session, SessionId, Step, Upload},
    error::{Error, Result},
    storage,
};

/// The digests that a client expects, as it wrote them: hex.
#[derive(Clone, Copy, Debug, Default)]
pub struct DigestFields<'a> {
    /// The SHA-256 of the whole file.
    pub sha256: Option<&'a str>,
    /// The SHA-256 over the parts' SHA-256; see [`Sha256Digest::composite`](crate::domain::Sha256Digest::composite).
    pub composite_sha256: Option<&'a str>,
}

impl Service {
    /// Makes a stored file of a session whose parts have all arrived. A repeated call returns the same result.
    ///
    /// If an expected digest is wrong, nothing changes. If the SHA-256 that was declared at creation is wrong, the
    /// session fails for good: its parts cannot be sent again. An open session is finalized only if `may_change`
    /// accepts its present state. `may_change` is not called for a session that has ended. So a retry gets the result
    /// of the first request, even if the condition of the request (`If-Match`) no longer holds.
    ///
    /// # Errors
    /// `NOT_FOUND`, `INVALID_INPUT`, `PARTS_MISSING` with the missing ranges, `CHECKSUM_MISMATCH` with both digests,
    /// `SESSION_CLOSED` if it ended without a file, `PRECONDITION_FAILED`. `PARTS_NOT_KEPT`, or `NOT_FOUND` after the deletion of
    /// the file, if it would have to read the file for a digest that it does not know.
    pub async fn finalize(
        self: &Arc<Self>,
        principal: &Principal,
        id: SessionId,
        expected: DigestFields<'_>,
        may_change: impl Fn(&Session) -> bool + Send + Sync,
    ) -> Result<Upload> {
        let expected = ExpectedDigests {
            sha256: parse_sha256("sha256", expected.sha256)?,
            composite_sha256: parse_sha256("composite_sha256", expected.composite_sha256)?,
        };
        let upload = self.status(principal, id).await?;
        if upload.session.status.is_open() && upload.session.has_all_parts() && !may_change(&upload.session) {
            return Err(Error::precondition_failed());
        }
        let mut finalize = Finalize::new(upload, expected, self.limits.hashes_every_file());
        loop {
            match next(&finalize)? {
                Step::Done => return Ok(finalize.upload),
                step if step.changes_something() => {
                    let this = Arc::clone(self);
                    return self.run_detached(async move { this.run_finalize(finalize).await }).await;
                }
                step => self.execute(step, &mut finalize).await?,
            }
        }
    }

    async fn run_finalize(&self, mut finalize: Finalize) -> Result<Upload> {
        loop {
            match next(&finalize)? {
                Step::Done => return Ok(finalize.upload),
                step => self.execute(step, &mut finalize).await?,
            }
        }
    }

    async fn execute(&self, step: Step, finalize: &mut Finalize) -> Result<()> {
        match step {
            Step::ReadParts => self.read_parts(finalize).await,
            Step::Hash => self.hash(finalize).await,
            Step::CompleteFile => self.complete(finalize).await,
            Step::Record(complete) => self.record_complete(finalize, complete).await,
            Step::FailChecksum(actual) => {
                let now = self.clock.now();
                self.end_finalize(finalize, |upload| upload.fail_checksum(actual, now)).await
            }
            Step::LearnSha256(actual) => {
                let (now, session) = (self.clock.now(), &finalize.upload.session);
                let learn = |upload: &mut Upload| upload.learn_sha256(actual, now);
                (finalize.upload, _) = self.db.change_upload(Some(&session.owner), session.id, learn).await?;
                self.prefix_hashes.forget(finalize.upload.session.id);
                Ok(())
            }
            Step::Done => Ok(()),
        }
    }

    async fn read_parts(&self, finalize: &mut Finalize) -> Result<()> {
        // Hashing a large file can take longer than the remaining time-to-live.
        if finalize.upload.session.status.is_open()
            && let Some(renewed) = self.renew_if_due(&finalize.upload.session).await?
        {
            finalize.upload = renewed;
        }
        let session = &finalize.upload.session;
        finalize.parts = Some(self.db.all_parts(session).await?.into());
        // If another process wrote to the file, its bytes are compared with the recorded digests, even if no digest is
        // required.
        if let Some(folder) = self.storage.as_folder().filter(|_| session.status.is_open()) {
            finalize.must_hash |= folder.externally_modified_at(session).await?.is_some();
        }
        Ok(())
    }

    async fn hash(&self, finalize: &mut Finalize) -> Result<()> {
        let session = &finalize.upload.session;
        let parts = finalize.records();
        let is_complete = finalize.location.is_some() || !session.status.is_open();
        match self.prefix_hashes.finish(&*self.storage, session, parts).await {
            Ok(Some(actual)) => finalize.actual = Actual::Known(actual),
            Ok(None) if !is_complete => finalize.actual = Actual::NotReadableYet,
            Ok(None) => {
                let problem = format!("session {}: its complete file is missing", session.id);
                self.look_again(finalize, storage::Error::Lost(problem)).await?;
            }
            Err(error) => self.look_again(finalize, error).await?,
        }
        Ok(())
    }

    async fn complete(&self, finalize: &mut Finalize) -> Result<()> {
        let session = &finalize.upload.session;
        let parts = finalize.records();
        match self.storage.complete(session, parts).await {
            Ok(location) => finalize.location = Some(location),
            Err(storage::Error::Replaced(numbers)) => {
                return Err(self.to_be_sent_again(session, parts.to_vec(), &numbers).await?);
            }
            Err(error) => self.look_again(finalize, error).await?,
        }
        Ok(())
    }

    async fn record_complete(&self, finalize: &mut Finalize, complete: CompleteFile) -> Result<()> {
        let (now, retention) = (self.clock.now(), self.limits.file_retention);
        self.end_finalize(finalize, |upload| upload.complete(complete.clone(), retention, now)).await
    }

    /// Ends the session with the state change `end`. If an abort ended it first, this finalize may have moved the bytes
    /// after the abort freed them, so they are freed again.
    async fn end_finalize(&self, finalize: &mut Finalize, end: impl Fn(&mut Upload) -> bool + Sync) -> Result<()> {
        let session = &finalize.upload.session;
        (finalize.upload, _) = self.end(Some(&session.owner), session.id, end).await?;
        self.prefix_hashes.forget(finalize.upload.session.id);
        self.free_without_file(&finalize.upload.session).await
    }

    /// Reads the upload again after a failure of the storage. If another request has ended the upload or deleted the file, that
    /// explains the failure, and the finalize continues from the new state.
    async fn look_again(&self, finalize: &mut Finalize, error: storage::Error) -> Result<()> {
        let session = &finalize.upload.session;
        if !session.status.is_open() {
            let now = self.db.upload(&session.owner, session.id).await?;
            let Some(deleted) = now.filter(|now| now.session.file_deleted) else {
                return Err(self.explain_unreadable(error).await);
            };
            finalize.upload = deleted;
            return Ok(());
        }
        finalize.upload = self.resolve_storage_failure(&finalize.upload.session, error, |_| true).await?;
        self.prefix_hashes.forget(finalize.upload.session.id);
        Ok(())
    }
}

fn next(finalize: &Finalize) -> Result<Step> {
    finalize.next().map_err(|refusal| match refusal {
        Refusal::PartsMissing(received) => Error::parts_missing(&received, finalize.upload.session.plan.total_parts()),
        Refusal::Sha256Mismatch { expected, actual } => Error::checksum_mismatch("file", expected, actual),
        Refusal::CompositeMismatch { expected, actual } => Error::composite_mismatch(expected, actual),
        Refusal::Closed => Error::session_closed(&finalize.upload.session),
        Refusal::FileDeleted => Error::not_found("stored file"),
        Refusal::PartsNotKept => Error::parts_not_kept(),
    })
}

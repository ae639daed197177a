//! Finalizing a session: making its parts one file.
//!
//! Owns the steps of a finalize: reading, hashing, completing, recording. Does not decide which step is next: that is
//! `domain::Finalize`. It decides again after every step, so a client can repeat a finalize at any point: after a
//! crash, after a lost response, or at the same time as another client. The bytes are never copied. On a local disk
//! they are hashed before they are completed. An object store returns them only after completion, so they are hashed
//! after it. In both cases this is before the session becomes COMPLETE.

use std::sync::Arc;

use sha2::{Digest, Sha256};

use super::{
    Service,
    input::{parse_crc64nvme, parse_sha256},
};
use crate::{
    domain::{
        Actual, CompleteFile, Crc64Nvme, ExpectedDigests, Finalize, PartRecord, Principal, Refusal, Session, SessionId,
        Step, Upload,
    },
    error::{Error, Result},
    spans::span,
    storage,
};

/// Parts that are read in one step to compute a checksum.
const CRC_STEP_PARTS: usize = 64;

/// The digests that a client expects, as it wrote them.
#[derive(Clone, Copy, Debug, Default)]
pub struct DigestFields<'a> {
    /// The SHA-256 of the whole file, in hex.
    pub sha256: Option<&'a str>,
    /// The CRC-64/NVME of the whole file, in base64.
    pub crc64nvme: Option<&'a str>,
    /// The SHA-256 over the parts' SHA-256, in hex; see [`Sha256Digest::composite`](crate::domain::Sha256Digest::composite).
    pub composite_sha256: Option<&'a str>,
}

impl Service {
    /// Makes a stored file of a session whose parts have all arrived. A repeated call returns the same result.
    ///
    /// If an expected digest is wrong, nothing changes. If a digest that was declared at creation is wrong, the
    /// session fails for good: its parts cannot be sent again. An open session is finalized only if `may_change`
    /// accepts its present state. `may_change` is not called for a session that has ended. So a retry gets the result
    /// of the first request, even if the condition of the request (`If-Match`) no longer holds.
    ///
    /// # Errors
    /// `NOT_FOUND`, `INVALID_INPUT`, `PARTS_MISSING` with the missing ranges, `CHECKSUM_MISMATCH` with both digests,
    /// `SESSION_CLOSED` if it ended without a file, `PRECONDITION_FAILED`. `NOT_FOUND` after the deletion of
    /// the file, if it would have to read the file for a digest that it does not know. `BYTES_LOST`.
    pub async fn finalize(
        self: &Arc<Self>,
        principal: &Principal,
        id: SessionId,
        expected: DigestFields<'_>,
        may_change: impl Fn(&Session) -> bool + Send + Sync,
    ) -> Result<Upload> {
        let expected = ExpectedDigests {
            sha256: parse_sha256("sha256", expected.sha256)?,
            crc64nvme: parse_crc64nvme(expected.crc64nvme)?,
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
                step if step.must_be_followed() => {
                    let this = Arc::clone(self);
                    return self.run_detached(async move { this.run_finalize(finalize).await }).await;
                }
                step => self.execute(step, &mut finalize).await?,
            }
        }
    }

    async fn run_finalize(self: &Arc<Self>, mut finalize: Finalize) -> Result<Upload> {
        loop {
            match next(&finalize)? {
                Step::Done => return Ok(finalize.upload),
                step => self.execute(step, &mut finalize).await?,
            }
        }
    }

    async fn execute(self: &Arc<Self>, step: Step, finalize: &mut Finalize) -> Result<()> {
        match step {
            Step::ReadParts => self.read_parts(finalize).await,
            Step::Hash => self.hash(finalize).await,
            // Boxed: these steps are rare, and every future that finalizes would contain theirs.
            Step::ComputeCrc64 => Box::pin(self.compute_crc64(finalize)).await,
            Step::CompleteFile => self.complete(finalize).await,
            Step::Record(complete) => self.record_complete(finalize, complete).await,
            Step::FailChecksum(actual) => {
                let now = self.clock.now();
                self.end_finalize(finalize, |upload| upload.fail_checksum(actual, now)).await
            }
            Step::LearnDigests => {
                finalize.upload = Box::pin(self.learn_digests(finalize.upload.clone())).await?;
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
        let _step = span!("hash file");
        let session = &finalize.upload.session;
        let parts = finalize.records();
        match self.prefix_hashes.finish(&*self.storage, session, parts).await {
            Ok(Some(actual)) => finalize.sha256 = Actual::Known(actual),
            Ok(None) if finalize.location.is_none() => finalize.sha256 = Actual::NotReadableYet,
            Ok(None) => self.look_again(finalize, missing(session)).await?,
            Err(error) => self.look_again(finalize, error).await?,
        }
        Ok(())
    }

    /// For parts that a version of the server received that computed no checksums.
    async fn compute_crc64(&self, finalize: &mut Finalize) -> Result<()> {
        let session = &finalize.upload.session;
        match self.crc64_of(session, finalize.records()).await {
            Ok(Some(actual)) => finalize.crc64nvme = Actual::Known(actual),
            Ok(None) if finalize.location.is_none() => finalize.crc64nvme = Actual::NotReadableYet,
            Ok(None) => self.look_again(finalize, missing(session)).await?,
            Err(error) => self.look_again(finalize, error).await?,
        }
        Ok(())
    }

    /// Reads these parts, which are all of a session, and compares them with their digests. `None` if they cannot be read yet.
    async fn crc64_of(&self, session: &Session, parts: &[PartRecord]) -> storage::Result<Option<Crc64Nvme>> {
        let mut pieces = Vec::new();
        for parts in parts.chunks(CRC_STEP_PARTS) {
            let Some(compared) = self.storage.compare(session, Sha256::new(), parts).await? else { return Ok(None) };
            if !compared.damaged.is_empty() {
                let problem = format!("parts {} do not have the bytes that arrived", compared.damaged);
                return Err(storage::Error::Lost(problem));
            }
            pieces.push((compared.crc64nvme, parts.iter().map(|record| record.part.size_bytes).sum()));
        }
        Ok(Some(Crc64Nvme::of_pieces(pieces)))
    }

    async fn complete(&self, finalize: &mut Finalize) -> Result<()> {
        let _step = span!("complete file");
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

    /// Reads the upload again after a failure of the storage. If another request has ended the upload, that explains the failure,
    /// and the finalize continues from the new state.
    async fn look_again(&self, finalize: &mut Finalize, error: storage::Error) -> Result<()> {
        finalize.upload = self.resolve_storage_failure(&finalize.upload.session, error, |_| true).await?;
        self.prefix_hashes.forget(finalize.upload.session.id);
        Ok(())
    }
}

fn missing(session: &Session) -> storage::Error {
    storage::Error::Lost(format!("session {}: its complete file is missing", session.id))
}

fn next(finalize: &Finalize) -> Result<Step> {
    finalize.next().map_err(|refusal| match refusal {
        Refusal::PartsMissing(received) => Error::parts_missing(&received, finalize.upload.session.plan.total_parts()),
        Refusal::Sha256Mismatch { expected, actual } => Error::checksum_mismatch("file", expected, actual),
        Refusal::Crc64Mismatch { expected, actual } => Error::crc64_mismatch(expected, actual),
        Refusal::CompositeMismatch { expected, actual } => Error::composite_mismatch(expected, actual),
        Refusal::Closed => Error::session_closed(&finalize.upload.session),
        Refusal::FileDeleted => Error::not_found("stored file"),
    })
}

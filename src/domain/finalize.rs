//! The steps of a finalize.
//!
//! Owns the decision which step is next. The decision depends on the present state of the upload and on the results of
//! the earlier steps. The service executes the step (it reads, hashes or writes) and asks for the next one. A finalize
//! that is repeated, runs twice at once, or resumes after a crash makes the same decisions, so the client gets the same
//! response.

use super::{CompleteFile, PartRecord, PartSet, SessionStatus, Sha256Digest, StatusReason, Upload};

/// The digests that the client expects the file to have.
#[derive(Clone, Copy, Debug, Default)]
pub struct ExpectedDigests {
    /// The SHA-256 of the whole file.
    pub sha256: Option<Sha256Digest>,
    /// The composite digest over the parts.
    pub composite_sha256: Option<Sha256Digest>,
}

/// A finalize that is under way.
#[derive(Debug)]
pub struct Finalize {
    /// The upload, as of the last read.
    pub upload: Upload,
    /// The digests that the client expects.
    pub expected: ExpectedDigests,
    /// Whether the bytes must be hashed before the session is complete. The service sets it if it hashes every file, or
    /// if the bytes may have changed since they arrived.
    pub must_hash: bool,
    /// All parts, once they are read.
    pub parts: Option<ReceivedParts>,
    /// The SHA-256 of the bytes.
    pub actual: Actual,
    /// Where the complete file is.
    pub location: Option<String>,
}

/// The records of all parts that have arrived, and what follows from them.
#[derive(Debug)]
pub struct ReceivedParts {
    records: Vec<PartRecord>,
    numbers: PartSet,
    composite_sha256: Sha256Digest,
}

impl From<Vec<PartRecord>> for ReceivedParts {
    /// `records` are in the order of their numbers.
    fn from(records: Vec<PartRecord>) -> Self {
        let numbers = records.iter().map(|record| record.part.number).collect();
        let composite_sha256 = Sha256Digest::composite(records.iter().map(|record| record.sha256));
        Self { records, numbers, composite_sha256 }
    }
}

/// The state of the SHA-256 of the bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Actual {
    /// Not computed yet.
    Unknown,
    /// Not computable yet: the storage returns the bytes only after the file is complete.
    NotReadableYet,
    /// Computed.
    Known(Sha256Digest),
}

/// One step of a finalize.
#[derive(Debug)]
pub enum Step {
    /// Read the records of all parts.
    ReadParts,
    /// Compute the SHA-256 of the bytes.
    Hash,
    /// Let the storage combine the parts into one file.
    CompleteFile,
    /// Record the file as complete: the last step of a first finalize.
    Record(CompleteFile),
    /// Record that the bytes do not have the SHA-256 that was declared at creation.
    FailChecksum(Sha256Digest),
    /// Record the SHA-256 of a file that was completed without one.
    LearnSha256(Sha256Digest),
    /// Nothing is left to do: return the upload.
    Done,
}

impl Step {
    /// Whether the step changes stored data. After the first such step, a finalize must run to its end.
    pub fn changes_something(&self) -> bool {
        !matches!(self, Self::ReadParts | Self::Hash | Self::Done)
    }
}

/// Why the server refuses to finalize a session.
#[derive(Clone, Debug, PartialEq)]
pub enum Refusal {
    /// Only these parts have arrived.
    PartsMissing(PartSet),
    /// The file does not have the expected or declared SHA-256.
    Sha256Mismatch {
        /// The expected or declared SHA-256.
        expected: Sha256Digest,
        /// The SHA-256 of the bytes.
        actual: Sha256Digest,
    },
    /// The parts do not have the composite digest that the client expects.
    CompositeMismatch {
        /// The digest that the client expects.
        expected: Sha256Digest,
        /// The digest of the parts.
        actual: Sha256Digest,
    },
    /// The session ended without a file.
    Closed,
    /// The file is needed, and it was deleted.
    FileDeleted,
    /// The records of the parts are needed, and the server has removed them.
    PartsNotKept,
}

impl Finalize {
    /// A finalize of this upload, before its first step.
    pub fn new(upload: Upload, expected: ExpectedDigests, hashes_every_file: bool) -> Self {
        let must_hash = upload.session.must_hash(hashes_every_file) || expected.sha256.is_some();
        Self { upload, expected, must_hash, parts: None, actual: Actual::Unknown, location: None }
    }

    /// The records of all parts; empty before they are read.
    pub fn records(&self) -> &[PartRecord] {
        self.parts.as_ref().map_or(&[], |parts| &parts.records)
    }

    /// The next step.
    pub fn next(&self) -> Result<Step, Refusal> {
        match self.upload.session.status {
            SessionStatus::Init | SessionStatus::InProgress => self.of_open(),
            SessionStatus::Complete => self.of_complete(),
            SessionStatus::Failed | SessionStatus::Aborted => Err(self.of_ended_without_file()),
        }
    }

    fn of_open(&self) -> Result<Step, Refusal> {
        let session = &self.upload.session;
        if !session.has_all_parts() {
            return Err(Refusal::PartsMissing(session.received.clone()));
        }
        let Some(parts) = &self.parts else { return Ok(Step::ReadParts) };
        // Another finalize may have removed some of them in the meantime, so that the client sends them again.
        if parts.numbers.len() < session.plan.total_parts() {
            return Err(Refusal::PartsMissing(parts.numbers.clone()));
        }
        let composite_sha256 = parts.composite_sha256;
        self.check_composite(composite_sha256)?;
        let sha256 = match (self.actual, &self.location) {
            (Actual::Known(actual), _) => {
                self.check_sha256(actual)?;
                if session.declared_sha256.is_some_and(|declared| declared != actual) {
                    return Ok(Step::FailChecksum(actual));
                }
                Some(actual)
            }
            _ if !self.must_hash => None,
            (Actual::Unknown, _) | (Actual::NotReadableYet, Some(_)) => return Ok(Step::Hash),
            (Actual::NotReadableYet, None) => None,
        };
        match self.location.clone() {
            Some(location) => Ok(Step::Record(CompleteFile { sha256, composite_sha256, location })),
            None => Ok(Step::CompleteFile),
        }
    }

    fn of_complete(&self) -> Result<Step, Refusal> {
        let file = &self.upload.file;
        if let Some(composite) = file.composite_sha256 {
            self.check_composite(composite)?;
        }
        match (file.sha256, self.actual) {
            (Some(actual), _) => self.check_sha256(actual).map(|()| Step::Done),
            (None, _) if self.expected.sha256.is_none() => Ok(Step::Done),
            (None, _) if self.upload.session.file_deleted => Err(Refusal::FileDeleted),
            (None, Actual::Known(actual)) => Ok(Step::LearnSha256(actual)),
            (None, _) => match &self.parts {
                _ if !self.upload.session.has_part_records() => Err(Refusal::PartsNotKept),
                None => Ok(Step::ReadParts),
                // The server has removed some of them since the session was read.
                Some(parts) if parts.numbers.len() < self.upload.session.plan.total_parts() => {
                    Err(Refusal::PartsNotKept)
                }
                Some(_) => Ok(Step::Hash),
            },
        }
    }

    fn of_ended_without_file(&self) -> Refusal {
        let Upload { session, file } = &self.upload;
        match (session.status_reason, file.sha256) {
            (Some(StatusReason::ChecksumMismatch), Some(actual)) => {
                Refusal::Sha256Mismatch { expected: session.declared_sha256.unwrap_or(actual), actual }
            }
            _ => Refusal::Closed,
        }
    }

    fn check_sha256(&self, actual: Sha256Digest) -> Result<(), Refusal> {
        match self.expected.sha256 {
            Some(expected) if expected != actual => Err(Refusal::Sha256Mismatch { expected, actual }),
            _ => Ok(()),
        }
    }

    fn check_composite(&self, actual: Sha256Digest) -> Result<(), Refusal> {
        match self.expected.composite_sha256 {
            Some(expected) if expected != actual => Err(Refusal::CompositeMismatch { expected, actual }),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;

    use super::*;
    use crate::domain::{Metadata, OwnerName, PartPlan, Timestamp, UploadRequest};

    const NOW: Timestamp = Timestamp::UNIX_EPOCH;
    const TTL: TimeDelta = TimeDelta::hours(1);

    fn digest(of: &str) -> Sha256Digest {
        Sha256Digest::of(of.as_bytes())
    }

    fn upload(declared: Option<Sha256Digest>) -> Upload {
        let request = UploadRequest {
            original_filename: "a.bin".to_owned(),
            content_type: "application/octet-stream".to_owned(),
            plan: PartPlan::new(20, 10).unwrap(),
            declared_sha256: declared,
            metadata: Metadata::default(),
            idempotency_key: None,
            auto_finalize: false,
            upload_metadata: None,
            retain_until: None,
        };
        let mut upload = Upload::new(&OwnerName::parse("ann").unwrap(), request, NOW, TTL);
        for record in records() {
            assert!(upload.session.record_part(record.part, NOW, TTL));
        }
        upload
    }

    fn records() -> Vec<PartRecord> {
        let plan = PartPlan::new(20, 10).unwrap();
        let record = |number: u32| PartRecord {
            part: plan.part(number).unwrap(),
            sha256: digest(&format!("part {number}")),
            storage_etag: None,
            received_at: NOW,
        };
        vec![record(1), record(2)]
    }

    fn composite() -> Sha256Digest {
        Sha256Digest::composite(records().iter().map(|record| record.sha256))
    }

    /// Executes the steps as the service does. `readable`: whether the storage returns bytes before the file is
    /// complete.
    fn run(finalize: &mut Finalize, bytes: Sha256Digest, readable: bool) -> Result<Vec<&'static str>, Refusal> {
        let mut steps = Vec::new();
        loop {
            steps.push(match finalize.next()? {
                Step::ReadParts => {
                    finalize.parts = Some(records().into());
                    "read parts"
                }
                Step::Hash => {
                    let is_complete = finalize.location.is_some() || !finalize.upload.session.status.is_open();
                    finalize.actual =
                        if readable || is_complete { Actual::Known(bytes) } else { Actual::NotReadableYet };
                    "hash"
                }
                Step::CompleteFile => {
                    finalize.location = Some("stored/1".to_owned());
                    "complete"
                }
                Step::Record(complete) => {
                    assert!(finalize.upload.complete(complete, None, NOW));
                    "record"
                }
                Step::FailChecksum(actual) => {
                    assert!(finalize.upload.fail_checksum(actual, NOW));
                    "fail"
                }
                Step::LearnSha256(actual) => {
                    assert!(finalize.upload.learn_sha256(actual, NOW));
                    "learn"
                }
                Step::Done => return Ok(steps),
            });
            assert!(steps.len() < 10, "{steps:?}");
        }
    }

    fn finalize(upload: Upload, expected: ExpectedDigests, hashes: bool) -> Finalize {
        Finalize::new(upload, expected, hashes)
    }

    fn expecting(sha256: Sha256Digest) -> ExpectedDigests {
        ExpectedDigests { sha256: Some(sha256), composite_sha256: None }
    }

    #[test]
    fn bytes_are_hashed_before_they_are_completed_where_they_can_be_read() {
        let mut local = finalize(upload(None), ExpectedDigests::default(), true);
        assert_eq!(run(&mut local, digest("x"), true), Ok(vec!["read parts", "hash", "complete", "record"]));
        assert_eq!(
            (local.upload.file.sha256, local.upload.file.composite_sha256),
            (Some(digest("x")), Some(composite()))
        );
        let mut object = finalize(upload(None), ExpectedDigests::default(), true);
        assert_eq!(run(&mut object, digest("x"), false), Ok(vec!["read parts", "hash", "complete", "hash", "record"]));
        let mut unhashed = finalize(upload(None), ExpectedDigests::default(), false);
        assert_eq!(run(&mut unhashed, digest("x"), true), Ok(vec!["read parts", "complete", "record"]));
        assert_eq!(unhashed.upload.file.sha256, None);
    }

    #[test]
    fn a_wrong_expected_digest_changes_nothing() {
        for readable in [true, false] {
            let mut wrong = finalize(upload(None), expecting(digest("y")), false);
            let refusal = Refusal::Sha256Mismatch { expected: digest("y"), actual: digest("x") };
            assert_eq!(run(&mut wrong, digest("x"), readable), Err(refusal));
            assert!(wrong.upload.session.status.is_open());
        }
        let expected = ExpectedDigests { sha256: None, composite_sha256: Some(digest("y")) };
        let mut wrong = finalize(upload(None), expected, true);
        let refusal = Refusal::CompositeMismatch { expected: digest("y"), actual: composite() };
        assert_eq!(run(&mut wrong, digest("x"), true), Err(refusal));
        assert_eq!(wrong.location, None);
    }

    #[test]
    fn a_wrong_declared_digest_fails_the_session_and_every_repeated_finalize_reports_it() {
        for readable in [true, false] {
            let mut declared = finalize(upload(Some(digest("y"))), ExpectedDigests::default(), false);
            let refusal = Refusal::Sha256Mismatch { expected: digest("y"), actual: digest("x") };
            assert_eq!(run(&mut declared, digest("x"), readable), Err(refusal.clone()));
            assert_eq!(declared.upload.session.status, SessionStatus::Failed);
            let mut again = finalize(declared.upload, expecting(digest("x")), false);
            assert_eq!(run(&mut again, digest("x"), readable), Err(refusal));
        }
    }

    #[test]
    fn a_repeated_finalize_changes_nothing_except_to_add_a_missing_digest() {
        let mut first = finalize(upload(None), ExpectedDigests::default(), false);
        run(&mut first, digest("x"), false).unwrap();
        let mut second = finalize(first.upload.clone(), ExpectedDigests::default(), false);
        assert_eq!(run(&mut second, digest("x"), false), Ok(vec![]));
        let mut asked = finalize(first.upload, expecting(digest("x")), false);
        assert_eq!(run(&mut asked, digest("x"), false), Ok(vec!["read parts", "hash", "learn"]));
        let mut wrong = finalize(asked.upload, expecting(digest("y")), false);
        assert!(matches!(run(&mut wrong, digest("x"), false), Err(Refusal::Sha256Mismatch { .. })));
    }

    #[test]
    fn missing_parts_are_reported_even_if_another_finalize_found_them() {
        let mut upload = upload(None);
        let mut found = finalize(upload.clone(), ExpectedDigests::default(), false);
        found.parts = Some(records()[..1].to_vec().into());
        assert_eq!(found.next().unwrap_err(), Refusal::PartsMissing([1].into_iter().collect()));
        upload.session.forget_part(records()[0].part, NOW);
        let missing = finalize(upload, ExpectedDigests::default(), false);
        assert_eq!(missing.next().unwrap_err(), Refusal::PartsMissing([2].into_iter().collect()));
    }

    #[test]
    fn a_digest_of_a_deleted_file_or_of_removed_parts_cannot_be_checked() {
        let mut complete = finalize(upload(None), ExpectedDigests::default(), false);
        run(&mut complete, digest("x"), false).unwrap();
        let again = |change: fn(&mut Upload), expected| {
            let mut upload = complete.upload.clone();
            change(&mut upload);
            run(&mut finalize(upload, expected, false), digest("x"), false)
        };
        let delete = |upload: &mut Upload| assert!(upload.delete_file(NOW));
        let remove = |upload: &mut Upload| upload.session.keeps_part_records = false;
        assert_eq!(again(delete, expecting(digest("x"))), Err(Refusal::FileDeleted));
        assert_eq!(again(remove, expecting(digest("x"))), Err(Refusal::PartsNotKept));
        assert_eq!(again(delete, ExpectedDigests::default()), Ok(vec![]));
        assert_eq!(again(remove, ExpectedDigests::default()), Ok(vec![]));
    }

    #[test]
    fn an_aborted_session_is_closed() {
        let mut upload = upload(None);
        assert!(upload.abort(NOW));
        assert_eq!(finalize(upload, ExpectedDigests::default(), true).next().unwrap_err(), Refusal::Closed);
    }
}

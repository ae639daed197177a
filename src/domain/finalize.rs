//! The steps of a finalize.
//!
//! Owns the decision which step is next. The decision depends on the present state of the upload and on the results of
//! the earlier steps. The service executes the step (it reads, hashes or writes) and asks for the next one. A finalize
//! that is repeated, runs twice at once, or resumes after a crash makes the same decisions, so the client gets the same
//! response.

use super::{
    CompleteFile, Crc64Nvme, FileDigests, PartRecord, PartSet, SessionStatus, Sha256Digest, StatusReason, Upload,
};

/// The digests that the client expects the file to have.
#[derive(Clone, Copy, Debug, Default)]
pub struct ExpectedDigests {
    /// The SHA-256 of the whole file.
    pub sha256: Option<Sha256Digest>,
    /// The CRC-64/NVME of the whole file.
    pub crc64nvme: Option<Crc64Nvme>,
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
    pub sha256: Actual<Sha256Digest>,
    /// The CRC-64/NVME of the bytes, if the server has to compute it because it does not follow from the parts.
    pub crc64nvme: Actual<Crc64Nvme>,
    /// Where the complete file is.
    pub location: Option<String>,
}

/// The records of all parts that have arrived, and what follows from them.
#[derive(Debug)]
pub struct ReceivedParts {
    records: Vec<PartRecord>,
    numbers: PartSet,
    composite_sha256: Sha256Digest,
    /// `None` if a part has none.
    crc64nvme: Option<Crc64Nvme>,
}

impl From<Vec<PartRecord>> for ReceivedParts {
    /// `records` are in the order of their numbers.
    fn from(records: Vec<PartRecord>) -> Self {
        let numbers = records.iter().map(|record| record.part.number).collect();
        let composite_sha256 = Sha256Digest::composite(records.iter().map(|record| record.sha256));
        let pieces = records.iter().map(|record| Some((record.crc64nvme?, record.part.size_bytes)));
        let crc64nvme = pieces.collect::<Option<Vec<_>>>().map(Crc64Nvme::of_pieces);
        Self { records, numbers, composite_sha256, crc64nvme }
    }
}

/// The state of a digest of the bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Actual<T> {
    /// Not computed yet.
    Unknown,
    /// Not computable yet: the storage returns the bytes only after the file is complete.
    NotReadableYet,
    /// Computed.
    Known(T),
}

/// One step of a finalize.
#[derive(Debug)]
pub enum Step {
    /// Read the records of all parts.
    ReadParts,
    /// Compute the SHA-256 of the bytes.
    Hash,
    /// Compute the CRC-64/NVME of the bytes.
    ComputeCrc64,
    /// Let the storage combine the parts into one file.
    CompleteFile,
    /// Record the file as complete: the last step of a first finalize.
    Record(CompleteFile),
    /// Record that the bytes, which have these digests, do not have those that were declared at creation.
    FailChecksum(FileDigests),
    /// Compute and record the digests that a stored file lacks.
    LearnDigests,
    /// Nothing is left to do: return the upload.
    Done,
}

impl Step {
    /// Whether a finalize must run to its end from this step on, because the steps after it belong together.
    pub fn must_be_followed(&self) -> bool {
        matches!(self, Self::CompleteFile | Self::Record(_) | Self::FailChecksum(_))
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
    /// The file does not have the expected or declared CRC-64/NVME.
    Crc64Mismatch {
        /// The expected or declared checksum.
        expected: Crc64Nvme,
        /// The checksum of the bytes.
        actual: Crc64Nvme,
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
}

impl Finalize {
    /// A finalize of this upload, before its first step.
    pub fn new(upload: Upload, expected: ExpectedDigests, hashes_every_file: bool) -> Self {
        let must_hash = upload.session.must_hash(hashes_every_file) || expected.sha256.is_some();
        let (sha256, crc64nvme) = (Actual::Unknown, Actual::Unknown);
        Self { upload, expected, must_hash, parts: None, sha256, crc64nvme, location: None }
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
        // The checksum follows from the parts, so it is compared before the bytes are read.
        let crc64nvme = parts.crc64nvme.map_or(self.crc64nvme, Actual::Known);
        let must_know_crc = self.expected.crc64nvme.or(session.declared_crc64nvme).is_some();
        let Ok(crc64nvme) = self.settle(crc64nvme, must_know_crc) else { return Ok(Step::ComputeCrc64) };
        if let Some(failed) = self.check(FileDigests { sha256: None, crc64nvme })? {
            return Ok(failed);
        }
        let Ok(sha256) = self.settle(self.sha256, self.must_hash) else { return Ok(Step::Hash) };
        let digests = FileDigests { sha256, crc64nvme };
        if let Some(failed) = self.check(digests)? {
            return Ok(failed);
        }
        match self.location.clone() {
            Some(location) => Ok(Step::Record(CompleteFile { digests, composite_sha256, location })),
            None => Ok(Step::CompleteFile),
        }
    }

    /// The digest, if it is known. `None` if it is not needed, or not needed yet. An error if it must be computed now.
    fn settle<T>(&self, actual: Actual<T>, is_needed: bool) -> Result<Option<T>, MustCompute> {
        match (actual, &self.location) {
            (Actual::Known(actual), _) => Ok(Some(actual)),
            _ if !is_needed => Ok(None),
            (Actual::Unknown, _) | (Actual::NotReadableYet, Some(_)) => Err(MustCompute),
            (Actual::NotReadableYet, None) => Ok(None),
        }
    }

    /// Compares the digests of an open session that are known. A declared one that is wrong fails the session.
    fn check(&self, actual: FileDigests) -> Result<Option<Step>, Refusal> {
        self.check_expected(actual)?;
        let session = &self.upload.session;
        let is_wrong = differ(session.declared_sha256, actual.sha256).is_some()
            || differ(session.declared_crc64nvme, actual.crc64nvme).is_some();
        Ok(is_wrong.then_some(Step::FailChecksum(actual)))
    }

    fn of_complete(&self) -> Result<Step, Refusal> {
        let (file, expected) = (&self.upload.file, &self.expected);
        if let Some(composite) = file.composite_sha256 {
            self.check_composite(composite)?;
        }
        self.check_expected(FileDigests { sha256: file.sha256, crc64nvme: file.crc64nvme })?;
        let is_known = (expected.sha256.is_none() || file.sha256.is_some())
            && (expected.crc64nvme.is_none() || file.crc64nvme.is_some());
        match is_known {
            true => Ok(Step::Done),
            false if self.upload.session.file_deleted => Err(Refusal::FileDeleted),
            false => Ok(Step::LearnDigests),
        }
    }

    fn of_ended_without_file(&self) -> Refusal {
        let Upload { session, file } = &self.upload;
        if session.status_reason != Some(StatusReason::ChecksumMismatch) {
            return Refusal::Closed;
        }
        if let Some((expected, actual)) = differ(session.declared_crc64nvme, file.crc64nvme) {
            return Refusal::Crc64Mismatch { expected, actual };
        }
        match file.sha256 {
            Some(actual) => Refusal::Sha256Mismatch { expected: session.declared_sha256.unwrap_or(actual), actual },
            None => Refusal::Closed,
        }
    }

    fn check_expected(&self, actual: FileDigests) -> Result<(), Refusal> {
        if let Some((expected, actual)) = differ(self.expected.crc64nvme, actual.crc64nvme) {
            return Err(Refusal::Crc64Mismatch { expected, actual });
        }
        match differ(self.expected.sha256, actual.sha256) {
            Some((expected, actual)) => Err(Refusal::Sha256Mismatch { expected, actual }),
            None => Ok(()),
        }
    }

    fn check_composite(&self, actual: Sha256Digest) -> Result<(), Refusal> {
        match self.expected.composite_sha256 {
            Some(expected) if expected != actual => Err(Refusal::CompositeMismatch { expected, actual }),
            _ => Ok(()),
        }
    }
}

/// A digest must be computed before the finalize can go on.
struct MustCompute;

/// Both digests, if they are known and not equal.
fn differ<T: PartialEq>(wanted: Option<T>, actual: Option<T>) -> Option<(T, T)> {
    wanted.zip(actual).filter(|(wanted, actual)| wanted != actual)
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;

    use super::*;
    use crate::domain::{Digests, OwnerName, PartPlan, Timestamp, UploadRequest};

    const NOW: Timestamp = Timestamp::UNIX_EPOCH;
    const TTL: TimeDelta = TimeDelta::hours(1);
    const PARTS: [&str; 2] = ["0123456789", "abcdefghij"];

    fn digest(of: &str) -> Sha256Digest {
        Sha256Digest::of(of.as_bytes())
    }

    fn upload(declared: Option<Sha256Digest>) -> Upload {
        upload_declaring(FileDigests { sha256: declared, crc64nvme: None })
    }

    fn upload_declaring(declared: FileDigests) -> Upload {
        let request = UploadRequest {
            declared_sha256: declared.sha256,
            declared_crc64nvme: declared.crc64nvme,
            ..UploadRequest::new("a.bin", "application/octet-stream", PartPlan::new(20, 10).unwrap())
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
            crc64nvme: Some(crc(PARTS[number as usize - 1])),
            storage_etag: None,
            received_at: NOW,
        };
        vec![record(1), record(2)]
    }

    fn crc(of: &str) -> Crc64Nvme {
        Digests::of(of.as_bytes()).crc64nvme
    }

    /// As a version without checksums recorded them.
    fn without_checksums() -> Vec<PartRecord> {
        records().into_iter().map(|record| PartRecord { crc64nvme: None, ..record }).collect()
    }

    fn composite() -> Sha256Digest {
        Sha256Digest::composite(records().iter().map(|record| record.sha256))
    }

    /// Executes the steps as the service does. `readable`: whether the storage returns bytes before the file is
    /// complete.
    fn run(finalize: &mut Finalize, bytes: Sha256Digest, readable: bool) -> Result<Vec<&'static str>, Refusal> {
        run_with(finalize, records(), bytes, readable)
    }

    fn run_with(
        finalize: &mut Finalize,
        records: Vec<PartRecord>,
        bytes: Sha256Digest,
        readable: bool,
    ) -> Result<Vec<&'static str>, Refusal> {
        let mut steps = Vec::new();
        loop {
            steps.push(match finalize.next()? {
                Step::ReadParts => {
                    finalize.parts = Some(records.clone().into());
                    "read parts"
                }
                Step::Hash => {
                    let is_readable = readable || finalize.location.is_some();
                    finalize.sha256 = if is_readable { Actual::Known(bytes) } else { Actual::NotReadableYet };
                    "hash"
                }
                Step::ComputeCrc64 => {
                    let is_readable = readable || finalize.location.is_some();
                    finalize.crc64nvme =
                        if is_readable { Actual::Known(crc(&PARTS.concat())) } else { Actual::NotReadableYet };
                    "crc"
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
                Step::LearnDigests => {
                    let digests = Digests { sha256: bytes, crc64nvme: crc(&PARTS.concat()) };
                    assert!(finalize.upload.learn_digests(digests, NOW));
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
        ExpectedDigests { sha256: Some(sha256), ..ExpectedDigests::default() }
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
        let expected = ExpectedDigests { composite_sha256: Some(digest("y")), ..ExpectedDigests::default() };
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
        assert_eq!(run(&mut asked, digest("x"), false), Ok(vec!["learn"]));
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
    fn a_digest_of_a_deleted_file_cannot_be_computed() {
        let mut complete = finalize(upload(None), ExpectedDigests::default(), false);
        run(&mut complete, digest("x"), false).unwrap();
        let again = |change: fn(&mut Upload), expected| {
            let mut upload = complete.upload.clone();
            change(&mut upload);
            run(&mut finalize(upload, expected, false), digest("x"), false)
        };
        let delete = |upload: &mut Upload| assert!(upload.delete_file(NOW));
        assert_eq!(again(delete, expecting(digest("x"))), Err(Refusal::FileDeleted));
        assert_eq!(again(delete, ExpectedDigests::default()), Ok(vec![]));
    }

    #[test]
    fn the_checksum_follows_from_the_parts_and_is_compared_before_the_bytes_are_read() {
        let whole = crc(&PARTS.concat());
        let expecting = |crc64nvme| ExpectedDigests { crc64nvme: Some(crc64nvme), ..ExpectedDigests::default() };
        for readable in [true, false] {
            let mut right = finalize(upload(None), expecting(whole), false);
            assert_eq!(run(&mut right, digest("x"), readable), Ok(vec!["read parts", "complete", "record"]));
            assert_eq!(right.upload.file.crc64nvme, Some(whole));
            let refusal = Refusal::Crc64Mismatch { expected: crc("y"), actual: whole };
            let mut wrong = finalize(upload(None), expecting(crc("y")), true);
            assert_eq!(run(&mut wrong, digest("x"), readable), Err(refusal.clone()));
            assert!(wrong.upload.session.status.is_open() && wrong.location.is_none());
            let mut again = finalize(right.upload, expecting(crc("y")), false);
            assert_eq!(run(&mut again, digest("x"), readable), Err(refusal.clone()));

            let declared = FileDigests { sha256: Some(digest("x")), crc64nvme: Some(crc("y")) };
            let mut declared = finalize(upload_declaring(declared), ExpectedDigests::default(), false);
            assert_eq!(run(&mut declared, digest("x"), readable), Err(refusal.clone()));
            assert_eq!(declared.upload.session.status, SessionStatus::Failed);
            let mut again = finalize(declared.upload, ExpectedDigests::default(), false);
            assert_eq!(run(&mut again, digest("x"), readable), Err(refusal));
        }
    }

    #[test]
    fn a_checksum_that_parts_lack_is_computed_only_if_a_client_says_one() {
        let whole = crc(&PARTS.concat());
        let declaring = |crc64nvme| upload_declaring(FileDigests { sha256: None, crc64nvme: Some(crc64nvme) });
        let expected = ExpectedDigests { crc64nvme: Some(whole), ..ExpectedDigests::default() };
        let mut old = finalize(upload(None), ExpectedDigests::default(), false);
        let steps = run_with(&mut old, without_checksums(), digest("x"), true);
        assert_eq!((steps, old.upload.file.crc64nvme), (Ok(vec!["read parts", "complete", "record"]), None));
        let mut asked = finalize(old.upload, expected, false);
        assert_eq!(run(&mut asked, digest("x"), true), Ok(vec!["learn"]));
        assert_eq!(asked.upload.file.crc64nvme, Some(whole));
        for (upload, expected) in [(upload(None), expected), (declaring(whole), ExpectedDigests::default())] {
            let mut local = finalize(upload.clone(), expected, false);
            let steps = run_with(&mut local, without_checksums(), digest("x"), true);
            assert_eq!(steps, Ok(vec!["read parts", "crc", "complete", "record"]));
            assert_eq!(local.upload.file.crc64nvme, Some(whole));
            let mut object = finalize(upload, expected, false);
            let steps = run_with(&mut object, without_checksums(), digest("x"), false);
            assert_eq!(steps, Ok(vec!["read parts", "crc", "complete", "crc", "record"]));
        }
        let mut wrong = finalize(declaring(crc("y")), ExpectedDigests::default(), false);
        let refusal = Refusal::Crc64Mismatch { expected: crc("y"), actual: whole };
        assert_eq!(run_with(&mut wrong, without_checksums(), digest("x"), false), Err(refusal));
        assert_eq!(wrong.upload.session.status, SessionStatus::Failed);
    }

    #[test]
    fn an_aborted_session_is_closed() {
        let mut upload = upload(None);
        assert!(upload.abort(NOW));
        assert_eq!(finalize(upload, ExpectedDigests::default(), true).next().unwrap_err(), Refusal::Closed);
    }
}

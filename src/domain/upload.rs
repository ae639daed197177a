//! An upload: a session and its file, which change together.
//!
//! Owns every change of state: `INIT -> IN_PROGRESS -> COMPLETE | FAILED | ABORTED`, the deletion of a stored file, the
//! counters, and what each change means for the file. Every change raises the session's `version` by one, so two reads with the same version return
//! the same upload. A method returns whether it changed anything; if the present state does not allow the change, it
//! does nothing. The database stores a change in a transaction, so two changes never run at once.

use chrono::TimeDelta;

use super::{
    Digests, FileDigests, FileId, FileRecord, FileStatus, OwnerName, Part, PartSet, Session, SessionId, SessionStatus,
    Sha256Digest, StatusReason, Timestamp, UploadRequest,
};

/// A session together with its file.
#[derive(Clone, Debug, PartialEq)]
pub struct Upload {
    /// The session.
    pub session: Session,
    /// The file it is for.
    pub file: FileRecord,
}

/// The statuses of an upload, which decide whether a change is an event and what the upload uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UploadState {
    /// The status of the session.
    pub session: SessionStatus,
    /// The status of the file.
    pub file: FileStatus,
}

/// The results of completing a file.
#[derive(Clone, Debug)]
pub struct CompleteFile {
    /// The digests of its bytes.
    pub digests: FileDigests,
    /// The composite digest over its parts.
    pub composite_sha256: Sha256Digest,
    /// Where the storage keeps it.
    pub location: String,
}

impl Upload {
    /// A new upload with no parts, which expires after `ttl`.
    pub fn new(owner: &OwnerName, request: UploadRequest, now: Timestamp, ttl: TimeDelta) -> Self {
        let file = FileRecord {
            id: FileId::generate(),
            owner: owner.clone(),
            original_filename: request.original_filename,
            content_type: request.content_type,
            size_bytes: request.plan.total_size_bytes(),
            sha256: None,
            crc64nvme: None,
            composite_sha256: None,
            metadata: request.metadata,
            upload_metadata: request.upload_metadata,
            status: FileStatus::Uploading,
            location: None,
            retain_until: request.retain_until,
            created_at: now,
            updated_at: now,
        };
        let session = Session {
            id: SessionId::generate(),
            file_id: file.id,
            owner: owner.clone(),
            status: SessionStatus::Init,
            status_reason: None,
            plan: request.plan,
            received: PartSet::new(),
            bytes_received: 0,
            append_offset: 0,
            tail: None,
            auto_finalize: request.auto_finalize,
            file_deleted: false,
            keeps_part_records: true,
            version: 1,
            idempotency_key: request.idempotency_key,
            declared_sha256: request.declared_sha256,
            declared_crc64nvme: request.declared_crc64nvme,
            storage_upload: None,
            expires_at: now + ttl,
            created_at: now,
            updated_at: now,
        };
        Self { session, file }
    }

    /// Whether the request has the same input as the one that created this upload. The chunk size may differ: the server
    /// chooses it, and its settings can change between a request and its repetition.
    pub fn has_same_input(&self, request: &UploadRequest) -> bool {
        let Self { session, file } = self;
        file.original_filename == request.original_filename
            && file.content_type == request.content_type
            && file.size_bytes == request.plan.total_size_bytes()
            && file.metadata == request.metadata
            && file.upload_metadata == request.upload_metadata
            // The server chooses a time when it stores the file, if the client has chosen none.
            && (file.retain_until == request.retain_until
                || request.retain_until.is_none() && file.status != FileStatus::Uploading)
            && session.declared_sha256 == request.declared_sha256
            && session.declared_crc64nvme == request.declared_crc64nvme
            // The last append may have set it since.
            && (session.auto_finalize || !request.auto_finalize)
    }

    /// The statuses of the upload.
    pub fn state(&self) -> UploadState {
        UploadState { session: self.session.status, file: self.file.status }
    }

    /// Whether the file is stored: complete, and not deleted.
    pub fn is_stored(&self) -> bool {
        self.file.status == FileStatus::Stored
    }

    /// Marks the file as stored and ends the session. Requires an open session with all its parts. The server deletes the file
    /// after the time `retention`, unless the client has chosen a time.
    pub fn complete(&mut self, complete: CompleteFile, retention: Option<TimeDelta>, now: Timestamp) -> bool {
        if !self.session.has_all_parts() || !self.session.end(SessionStatus::Complete, None, now) {
            return false;
        }
        self.file.status = FileStatus::Stored;
        (self.file.sha256, self.file.crc64nvme) = (complete.digests.sha256, complete.digests.crc64nvme);
        self.file.composite_sha256 = Some(complete.composite_sha256);
        self.file.location = Some(complete.location);
        let chosen = self.file.retain_until;
        self.file.retain_until = chosen.or_else(|| now.checked_add_signed(retention?));
        self.file.updated_at = now;
        true
    }

    /// Deletes the stored file. The session stays complete.
    pub fn delete_file(&mut self, now: Timestamp) -> bool {
        if self.file.status != FileStatus::Stored {
            return false;
        }
        self.file.status = FileStatus::Deleted;
        self.file.location = None;
        self.file.updated_at = now;
        self.session.file_deleted = true;
        self.session.touch(now);
        true
    }

    /// Deletes the stored file at the end of its retention.
    pub fn delete_due_file(&mut self, now: Timestamp) -> bool {
        self.file.retain_until.is_some_and(|until| until <= now) && self.delete_file(now)
    }

    /// Aborts the upload at the request of its owner.
    pub fn abort(&mut self, now: Timestamp) -> bool {
        self.end_without_file(StatusReason::AbortedByOwner, now)
    }

    /// Aborts the upload of a request that failed as a whole, and frees its idempotency key: the client repeats the request.
    pub fn abandon(&mut self, now: Timestamp) -> bool {
        let is_aborted = self.abort(now);
        if is_aborted {
            self.session.idempotency_key = None;
        }
        is_aborted
    }

    /// Expires the upload if `expires_at` has passed.
    pub fn expire(&mut self, now: Timestamp) -> bool {
        self.session.expires_at <= now && self.end_without_file(StatusReason::Expired, now)
    }

    /// Fails the upload: its bytes have these digests, and one of them is not the declared one.
    pub fn fail_checksum(&mut self, actual: FileDigests, now: Timestamp) -> bool {
        let has_ended = self.end_without_file(StatusReason::ChecksumMismatch, now);
        if has_ended {
            (self.file.sha256, self.file.crc64nvme) = (actual.sha256, actual.crc64nvme);
        }
        has_ended
    }

    /// Fails the upload: the storage has lost bytes of received parts.
    pub fn fail_lost(&mut self, now: Timestamp) -> bool {
        self.end_without_file(StatusReason::BytesLost, now)
    }

    fn end_without_file(&mut self, reason: StatusReason, now: Timestamp) -> bool {
        let has_ended = self.session.end(reason.status(), Some(reason), now);
        if has_ended {
            self.file.status = FileStatus::Failed;
            self.file.updated_at = now;
        }
        has_ended
    }

    /// Adds the digests of a stored file that it lacks.
    pub fn learn_digests(&mut self, actual: Digests, now: Timestamp) -> bool {
        if self.file.status != FileStatus::Stored || self.file.has_digests() {
            return false;
        }
        self.file.sha256.get_or_insert(actual.sha256);
        self.file.crc64nvme.get_or_insert(actual.crc64nvme);
        self.file.updated_at = now;
        self.session.touch(now);
        true
    }
}

/// Changes to the session only.
impl Session {
    /// Records a part that is durable. If it had a tail, the part replaces it. A part that was recorded before changes
    /// nothing.
    pub fn record_part(&mut self, part: Part, now: Timestamp, ttl: TimeDelta) -> bool {
        if !self.status.is_open() || !self.received.insert(part.number) {
            return false;
        }
        self.bytes_received += part.size_bytes;
        if self.tail_of(part).is_some() {
            self.tail = None;
            self.append_offset = part.end();
        }
        self.status = SessionStatus::InProgress;
        self.expires_at = now + ttl;
        self.touch(now);
        true
    }

    /// Removes a part, which the client must send again.
    pub fn forget_part(&mut self, part: Part, now: Timestamp) -> bool {
        if !self.status.is_open() || !self.received.remove(part.number) {
            return false;
        }
        self.bytes_received -= part.size_bytes;
        // A tail follows parts without a gap.
        self.tail.take_if(|tail| tail.part.number > part.number);
        self.append_offset = self.append_offset.min(self.contiguous_bytes());
        self.touch(now);
        true
    }

    /// Renews the time-to-live of a session in use, once a third of it has passed. A part on a slow line or a long finalize
    /// can take longer than the time that is left.
    pub fn keep_alive(&mut self, now: Timestamp, ttl: TimeDelta) -> bool {
        if !self.status.is_open() || !self.is_renewal_due(now, ttl) {
            return false;
        }
        self.expires_at = now + ttl;
        self.touch(now);
        true
    }

    /// Whether a third of the time-to-live has passed.
    pub fn is_renewal_due(&self, now: Timestamp, ttl: TimeDelta) -> bool {
        self.expires_at - now < ttl - ttl / 3
    }

    fn end(&mut self, status: SessionStatus, reason: Option<StatusReason>, now: Timestamp) -> bool {
        if !self.status.is_open() {
            return false;
        }
        self.status = status;
        self.status_reason = reason;
        self.touch(now);
        true
    }

    pub(super) fn touch(&mut self, now: Timestamp) {
        self.version += 1;
        self.updated_at = now;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{Crc64Nvme, Event, EventType, PartPlan, Usage};

    const TTL: TimeDelta = TimeDelta::hours(1);

    fn at(second: i64) -> Timestamp {
        Timestamp::from_timestamp(second, 0).unwrap()
    }

    fn request() -> UploadRequest {
        UploadRequest::new("a.bin", "application/octet-stream", PartPlan::new(25, 10).unwrap())
    }

    fn upload() -> Upload {
        Upload::new(&OwnerName::parse("ann").unwrap(), request(), at(0), TTL)
    }

    fn with_all_parts() -> Upload {
        let mut upload = upload();
        for number in 1..=3 {
            let part = upload.session.plan.part(number).unwrap();
            assert!(upload.session.record_part(part, at(1), TTL));
        }
        upload
    }

    fn complete_file() -> CompleteFile {
        CompleteFile {
            digests: FileDigests::default(),
            composite_sha256: Sha256Digest::of(b"parts"),
            location: "stored/1".to_owned(),
        }
    }

    type Move = fn(&mut Upload) -> bool;

    const ENDS: [(Move, SessionStatus, FileStatus); 5] = [
        (|upload| upload.complete(complete_file(), None, at(2)), SessionStatus::Complete, FileStatus::Stored),
        (|upload| upload.abort(at(2)), SessionStatus::Aborted, FileStatus::Failed),
        (|upload| upload.expire(at(9_999)), SessionStatus::Aborted, FileStatus::Failed),
        (|upload| upload.fail_checksum(FileDigests::default(), at(2)), SessionStatus::Failed, FileStatus::Failed),
        (|upload| upload.fail_lost(at(2)), SessionStatus::Failed, FileStatus::Failed),
    ];

    #[test]
    fn a_part_is_counted_once_and_renews_the_time_to_live() {
        let mut session = upload().session;
        let last = session.plan.part(3).unwrap();
        assert!(session.record_part(last, at(5), TTL));
        assert!(!session.record_part(last, at(9), TTL));
        assert_eq!(session.status, SessionStatus::InProgress);
        assert_eq!((session.completed_parts(), session.bytes_received, session.version), (1, 5, 2));
        assert_eq!((session.updated_at, session.expires_at), (at(5), at(5) + TTL));
        assert!((session.progress() - 0.2).abs() < f64::EPSILON);
    }

    #[test]
    fn a_removed_part_is_no_longer_counted() {
        let mut session = with_all_parts().session;
        let part = session.plan.part(2).unwrap();
        assert!(session.forget_part(part, at(3)));
        assert!(!session.forget_part(part, at(4)));
        assert_eq!((session.received.to_string(), session.bytes_received, session.version), ("1,3".to_owned(), 15, 5));
    }

    #[test]
    fn the_time_to_live_is_renewed_once_a_third_has_passed() {
        let mut session = upload().session;
        assert!(!session.keep_alive(at(1_200), TTL));
        assert!(session.keep_alive(at(1_201), TTL));
        assert_eq!((session.expires_at, session.version), (at(1_201) + TTL, 2));
    }

    #[test]
    fn only_an_abandoned_upload_frees_its_key() {
        let named = || {
            Upload::new(
                &OwnerName::parse("ann").unwrap(),
                UploadRequest { idempotency_key: Some("k".to_owned()), ..request() },
                at(0),
                TTL,
            )
        };
        let (mut aborted, mut abandoned) = (named(), named());
        assert!(aborted.abort(at(2)) && abandoned.abandon(at(2)));
        assert!(!aborted.abandon(at(3)), "it had ended before");
        assert_eq!(aborted.session.idempotency_key.as_deref(), Some("k"));
        assert_eq!((abandoned.session.status, abandoned.session.idempotency_key), (SessionStatus::Aborted, None));
    }

    #[test]
    fn a_request_is_the_same_after_the_last_append_has_made_its_session_finalize_itself() {
        let mut upload = upload();
        assert!(upload.session.finalize_automatically(at(1)));
        assert!(upload.has_same_input(&request()));
        let automatic = UploadRequest { auto_finalize: true, ..request() };
        assert!(upload.has_same_input(&automatic));
        assert!(!self::upload().has_same_input(&automatic));
    }

    #[test]
    fn each_end_ends_the_file_with_the_session() {
        for (end, status, file_status) in ENDS {
            let mut upload = with_all_parts();
            let before = upload.session.version;
            assert!(end(&mut upload));
            assert_eq!((upload.session.status, upload.file.status), (status, file_status));
            assert_eq!(upload.session.version, before + 1);
            assert_eq!(upload.file.updated_at, upload.session.updated_at);
            assert_eq!(upload.session.status_reason.is_none(), status == SessionStatus::Complete);
            assert_eq!(upload.file.location.is_some(), status == SessionStatus::Complete);
        }
    }

    #[test]
    fn an_ended_upload_stays_as_it_ended() {
        for (first, ..) in ENDS {
            let mut upload = with_all_parts();
            assert!(first(&mut upload));
            let ended = upload.clone();
            let part = upload.session.plan.part(1).unwrap();
            assert!(!upload.session.record_part(part, at(9_999), TTL));
            assert!(!upload.session.forget_part(part, at(9_999)));
            assert!(!upload.session.keep_alive(at(9_999), TTL));
            assert!(ENDS.iter().all(|(second, ..)| !second(&mut upload)));
            assert_eq!(upload, ended);
        }
    }

    #[test]
    fn an_upload_without_all_parts_cannot_be_completed() {
        let mut upload = upload();
        assert!(!upload.complete(complete_file(), None, at(2)));
        assert!(!upload.expire(at(2)), "it is not due");
        assert_eq!(upload.session.status, SessionStatus::Init);
    }

    #[test]
    fn a_digest_is_learned_once_and_of_a_stored_file_alone() {
        let (first, second) = (Digests::of(b"1"), Digests::of(b"2"));
        let mut upload = with_all_parts();
        assert!(!upload.learn_digests(first, at(2)));
        assert!(upload.complete(complete_file(), None, at(2)));
        upload.file.crc64nvme = Some(second.crc64nvme);
        let version = upload.session.version;
        assert!(upload.learn_digests(first, at(3)));
        assert!(!upload.learn_digests(second, at(4)));
        let learned = (upload.file.sha256, upload.file.crc64nvme, upload.session.version);
        assert_eq!(learned, (Some(first.sha256), Some(second.crc64nvme), version + 1), "a known digest stays");
    }

    #[test]
    fn only_a_stored_file_can_be_deleted_and_only_once() {
        for (end, _, file_status) in ENDS {
            let mut upload = with_all_parts();
            assert!(!upload.delete_file(at(1)));
            assert!(end(&mut upload));
            let before = upload.clone();
            assert_eq!(upload.delete_file(at(3)), file_status == FileStatus::Stored);
            if file_status != FileStatus::Stored {
                assert_eq!(upload, before);
                continue;
            }
            assert_eq!((upload.session.status, upload.file.status), (SessionStatus::Complete, FileStatus::Deleted));
            assert_eq!((upload.session.version, upload.file.updated_at), (before.session.version + 1, at(3)));
            assert!(upload.session.file_deleted && upload.file.location.is_none());
            assert!(!upload.delete_file(at(4)) && !upload.learn_digests(Digests::of(b""), at(4)));
        }
    }

    #[test]
    fn a_file_is_due_at_the_time_that_its_client_or_else_the_server_has_chosen() {
        for (chosen, retention, due) in [
            (None, None, None),
            (None, Some(TimeDelta::seconds(10)), Some(at(12))),
            (Some(at(5)), Some(TimeDelta::seconds(10)), Some(at(5))),
            (Some(at(50)), None, Some(at(50))),
            (None, Some(TimeDelta::MAX), None),
        ] {
            let request = UploadRequest { plan: PartPlan::new(0, 10).unwrap(), retain_until: chosen, ..request() };
            let mut upload = Upload::new(&OwnerName::parse("ann").unwrap(), request, at(0), TTL);
            assert!(upload.complete(complete_file(), retention, at(2)));
            assert_eq!(upload.file.retain_until, due);
            let Some(due) = due else {
                assert!(!upload.delete_due_file(at(99_999)));
                continue;
            };
            assert!(!upload.delete_due_file(due - TimeDelta::seconds(1)));
            assert!(upload.delete_due_file(due));
        }
    }

    #[test]
    fn every_end_and_the_deletion_is_one_event_and_changes_the_account() {
        let usage = |upload: &Upload| Usage::of(upload.state(), upload.file.size_bytes);
        let event = |before, upload: &Upload| Event::of_change(before, upload).map(|event| event.event_type);
        let types = [
            EventType::UploadCompleted,
            EventType::UploadAborted,
            EventType::UploadExpired,
            EventType::UploadFailed,
            EventType::UploadFailed,
        ];
        for ((end, status, _), event_type) in ENDS.into_iter().zip(types) {
            let mut upload = with_all_parts();
            let before = upload.state();
            assert_eq!(usage(&upload), Usage { bytes: 25, open_sessions: 1 });
            assert_eq!(event(before, &upload), None);
            assert!(end(&mut upload));
            assert_eq!(event(before, &upload), Some(event_type));
            let is_stored = status == SessionStatus::Complete;
            assert_eq!(usage(&upload), Usage { bytes: if is_stored { 25 } else { 0 }, open_sessions: 0 });
            let before = upload.state();
            assert_eq!(upload.delete_file(at(3)), is_stored);
            assert_eq!(event(before, &upload), is_stored.then_some(EventType::FileDeleted));
            assert!(usage(&upload).is_zero());
        }
    }

    #[test]
    fn a_repeated_request_is_recognised_by_what_the_client_asked_for() {
        let upload = upload();
        assert!(upload.has_same_input(&request()));
        let other_plan = UploadRequest { plan: PartPlan::new(25, 5).unwrap(), ..request() };
        assert!(upload.has_same_input(&other_plan), "the chunk size is the server's choice");
        let other_size = UploadRequest { plan: PartPlan::new(26, 10).unwrap(), ..request() };
        let other_name = UploadRequest { original_filename: "b.bin".to_owned(), ..request() };
        let other_type = UploadRequest { content_type: "text/plain".to_owned(), ..request() };
        let other_digest = UploadRequest { declared_sha256: Some(Sha256Digest::of(b"")), ..request() };
        let other_crc = UploadRequest { declared_crc64nvme: Some(Crc64Nvme::EMPTY), ..request() };
        assert!(
            ![other_size, other_name, other_type, other_digest, other_crc]
                .iter()
                .any(|other| upload.has_same_input(other))
        );
    }
}

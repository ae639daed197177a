//! An upload session and the moves it allows.
//!
//! Owns the state machine `INIT -> IN_PROGRESS -> COMPLETE | FAILED | ABORTED` and the counters that go with it. Every
//! move raises `version` by one, so that two reads with the same version saw the same session. Persisting a move, and
//! keeping two of them apart, is the database's.

use chrono::TimeDelta;
use uuid::Uuid;

use super::{FileId, OwnerName, Part, PartPlan, PartSet, Sha256Digest, Timestamp};

/// A session's id: a UUID version 7, so that ids sort by the time of creation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SessionId(pub Uuid);

/// How far a session has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SessionStatus {
    /// Created; no part has arrived.
    Init,
    /// At least one part has arrived.
    InProgress,
    /// Finalized: the file is stored.
    Complete,
    /// Ended by an error that sending again cannot mend; see the status reason.
    Failed,
    /// Ended by its owner or by expiry; see the status reason.
    Aborted,
}

impl SessionStatus {
    /// Every status, in the order of a session's life.
    pub const ALL: [Self; 5] = [Self::Init, Self::InProgress, Self::Complete, Self::Failed, Self::Aborted];

    /// The name used in the database and in both protocols.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Init => "INIT",
            Self::InProgress => "IN_PROGRESS",
            Self::Complete => "COMPLETE",
            Self::Failed => "FAILED",
            Self::Aborted => "ABORTED",
        }
    }

    /// The status with this name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.as_str() == name)
    }

    /// Whether parts are still taken.
    pub fn is_open(self) -> bool {
        matches!(self, Self::Init | Self::InProgress)
    }
}

/// Why a session ended without a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StatusReason {
    /// Its owner aborted it.
    AbortedByOwner,
    /// It was not touched for the session time-to-live.
    Expired,
    /// The stored bytes do not have the SHA-256 that was declared at creation.
    ChecksumMismatch,
    /// Bytes of parts that had arrived are gone from the storage, or are not those that arrived.
    BytesLost,
}

impl StatusReason {
    /// Reads the name that is stored and shown.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|reason| reason.as_str() == name)
    }

    /// Every reason.
    pub const ALL: [Self; 4] = [Self::AbortedByOwner, Self::Expired, Self::ChecksumMismatch, Self::BytesLost];

    /// The name used in the database and in both protocols.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::AbortedByOwner => "aborted_by_owner",
            Self::Expired => "expired",
            Self::ChecksumMismatch => "checksum_mismatch",
            Self::BytesLost => "bytes_lost",
        }
    }
}

/// An upload session.
#[derive(Clone, Debug, PartialEq)]
pub struct Session {
    /// Its id.
    pub id: SessionId,
    /// The file it is for; one to one.
    pub file_id: FileId,
    /// Whose it is.
    pub owner: OwnerName,
    /// How far it has come.
    pub status: SessionStatus,
    /// Why it ended without a file.
    pub status_reason: Option<StatusReason>,
    /// How its file is cut.
    pub plan: PartPlan,
    /// Which parts are durable.
    pub received: PartSet,
    /// Bytes in those parts.
    pub bytes_received: u64,
    /// Grows by one with every change.
    pub version: u64,
    /// The client's name for the request that created it; unique per owner.
    pub idempotency_key: Option<String>,
    /// The SHA-256 of the whole file, if the client declared it at creation.
    pub declared_sha256: Option<Sha256Digest>,
    /// The object store's id of the upload, from the first part on; `None` where storage needs none.
    pub storage_upload_id: Option<String>,
    /// When it will be aborted unless something happens to it before.
    pub expires_at: Timestamp,
    /// When it was created.
    pub created_at: Timestamp,
    /// When it last changed.
    pub updated_at: Timestamp,
}

impl Session {
    /// How many parts have arrived.
    pub fn completed_parts(&self) -> u32 {
        self.received.len()
    }

    /// Whether every part has arrived.
    pub fn has_all_parts(&self) -> bool {
        self.completed_parts() == self.plan.total_parts()
    }

    /// The share of the file's bytes that has arrived, from 0 to 1. An empty file is at 1 from the start.
    #[expect(clippy::cast_precision_loss, reason = "a share for people to look at")]
    pub fn progress(&self) -> f64 {
        match self.plan.total_size_bytes() {
            0 => 1.0,
            total => self.bytes_received as f64 / total as f64,
        }
    }

    /// Notes that a part is durable. False, and nothing changes, if it was noted before or the session is closed.
    pub fn record(&mut self, part: Part, now: Timestamp, ttl: TimeDelta) -> bool {
        if !self.status.is_open() || !self.received.insert(part.number) {
            return false;
        }
        self.bytes_received += part.size_bytes;
        self.status = SessionStatus::InProgress;
        self.expires_at = now + ttl;
        self.touch(now);
        true
    }

    /// Takes back that a part is durable. False, and nothing changes, if it was not noted or the session is closed.
    pub fn forget(&mut self, part: Part, now: Timestamp) -> bool {
        if !self.status.is_open() || !self.received.remove(part.number) {
            return false;
        }
        self.bytes_received -= part.size_bytes;
        self.touch(now);
        true
    }

    /// Puts expiry off, so that a long finalize, or a part on a slow line, is not overtaken by it. False if the session is
    /// closed.
    pub fn keep_alive(&mut self, now: Timestamp, ttl: TimeDelta) -> bool {
        if !self.status.is_open() {
            return false;
        }
        self.expires_at = now + ttl;
        self.touch(now);
        true
    }

    /// Ends an open session. False, and nothing changes, if it has ended already.
    pub fn close(&mut self, status: SessionStatus, reason: Option<StatusReason>, now: Timestamp) -> bool {
        if !self.status.is_open() {
            return false;
        }
        self.status = status;
        self.status_reason = reason;
        self.touch(now);
        true
    }

    /// Notes any other change, also of its file once it has ended.
    pub fn touch(&mut self, now: Timestamp) {
        self.version += 1;
        self.updated_at = now;
    }
}

/// A part that is durable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartRecord {
    /// Which part, where it lies and how long it is.
    pub part: Part,
    /// The SHA-256 of its bytes.
    pub sha256: Sha256Digest,
    /// What the object store answered when it took the part; needed to complete the upload there.
    pub storage_etag: Option<String>,
    /// When it was acknowledged.
    pub received_at: Timestamp,
}

#[cfg(test)]
mod tests {
    use super::*;

    const TTL: TimeDelta = TimeDelta::hours(1);

    fn at(second: i64) -> Timestamp {
        Timestamp::from_timestamp(second, 0).unwrap()
    }

    fn session() -> Session {
        Session {
            id: SessionId(Uuid::nil()),
            file_id: FileId(Uuid::nil()),
            owner: OwnerName::parse("ann").unwrap(),
            status: SessionStatus::Init,
            status_reason: None,
            plan: PartPlan::new(25, 10).unwrap(),
            received: PartSet::new(),
            bytes_received: 0,
            version: 1,
            idempotency_key: None,
            declared_sha256: None,
            storage_upload_id: None,
            expires_at: at(0) + TTL,
            created_at: at(0),
            updated_at: at(0),
        }
    }

    #[test]
    fn a_part_is_counted_once_and_moves_the_expiry() {
        let mut session = session();
        let last = session.plan.part(3).unwrap();
        assert!(session.record(last, at(5), TTL));
        assert!(!session.record(last, at(9), TTL));
        assert_eq!(session.status, SessionStatus::InProgress);
        assert_eq!((session.completed_parts(), session.bytes_received, session.version), (1, 5, 2));
        assert_eq!((session.updated_at, session.expires_at), (at(5), at(5) + TTL));
        assert!((session.progress() - 0.2).abs() < f64::EPSILON);
    }

    #[test]
    fn an_ended_session_stays_as_it_ended() {
        for end in [SessionStatus::Complete, SessionStatus::Failed, SessionStatus::Aborted] {
            let mut session = session();
            assert!(session.close(end, None, at(1)));
            let ended = session.clone();
            let part = session.plan.part(1).unwrap();
            assert!(!session.record(part, at(2), TTL));
            assert!(!session.keep_alive(at(2), TTL));
            assert!(!session.close(SessionStatus::Aborted, Some(StatusReason::Expired), at(2)));
            assert_eq!(session, ended);
        }
    }

    #[test]
    fn every_status_has_a_name_of_its_own() {
        for status in SessionStatus::ALL {
            assert_eq!(SessionStatus::parse(status.as_str()), Some(status));
        }
        assert_eq!(SessionStatus::parse("init"), None);
    }
}

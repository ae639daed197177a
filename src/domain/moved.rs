//! An open session that goes on in another storage.
//!
//! Owns what a session is after a move, from what has arrived in the other storage. Does not own the other state changes: those are
//! in `upload`.

use chrono::TimeDelta;

use super::{MultipartUpload, PartSet, Session, SessionStatus, Timestamp};

/// What has arrived of an open session in another storage.
#[derive(Clone, Debug, Default)]
pub struct Arrived {
    /// The parts whose bytes are durable there.
    pub parts: PartSet,
    /// The tail, if its bytes are durable there.
    pub tail: Option<ArrivedTail>,
    /// The multipart upload there.
    pub storage_upload: Option<MultipartUpload>,
}

/// Where a tail is in another storage.
#[derive(Clone, Debug, Default)]
pub struct ArrivedTail {
    /// The object that holds it; `None` on a local disk.
    pub location: Option<String>,
}

impl Session {
    /// The session with exactly what has arrived in another storage. A part that has not arrived is missing, and the client sends it
    /// again. The session expires later by the time `downtime`, in which clients could send nothing.
    #[must_use]
    pub fn moved(&self, arrived: Arrived, downtime: TimeDelta, now: Timestamp) -> Self {
        let mut moved = self.clone();
        let missing = self.received.numbers_after(0).filter(|number| !arrived.parts.contains(*number));
        for part in missing.filter_map(|number| self.plan.part(number)) {
            moved.forget_part(part, now);
        }
        match (&mut moved.tail, arrived.tail) {
            (Some(tail), Some(arrived)) => tail.location = arrived.location,
            (tail, _) => *tail = None,
        }
        moved.append_offset = moved.append_offset.min(moved.contiguous_bytes());
        if !moved.has_bytes() {
            moved.status = SessionStatus::Init;
        }
        moved.storage_upload = arrived.storage_upload;
        moved.expires_at = moved.expires_at.checked_add_signed(downtime).unwrap_or(moved.expires_at);
        (moved.version, moved.updated_at) = (self.version + 1, now);
        moved
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{OwnerName, PartPlan, Sha256Digest, Tail, Upload, UploadRequest};

    const TTL: TimeDelta = TimeDelta::hours(1);
    const DOWNTIME: TimeDelta = TimeDelta::hours(2);

    fn at(second: i64) -> Timestamp {
        Timestamp::from_timestamp(second, 0).unwrap()
    }

    /// A session with the parts 1 and 2 and 3 bytes of part 3.
    fn session() -> Session {
        let request = UploadRequest {
            idempotency_key: Some("key".to_owned()),
            auto_finalize: true,
            ..UploadRequest::new("a", "text/plain", PartPlan::new(45, 10).unwrap())
        };
        let mut session = Upload::new(&OwnerName::parse("ann").unwrap(), request, at(0), TTL).session;
        for number in [1, 2] {
            assert!(session.append_part(session.plan.part(number).unwrap(), at(1), TTL));
        }
        let tail = Tail {
            part: session.plan.part(3).unwrap(),
            bytes: 3,
            sha256: Sha256Digest::of(b"abc"),
            location: Some("here".to_owned()),
        };
        assert!(session.append_tail(tail, None, at(1), TTL));
        session
    }

    fn arrived(parts: &[u32], tail: Option<&str>) -> Arrived {
        let upload = MultipartUpload { id: "there".to_owned(), checks_crc64: true };
        let tail = tail.map(|location| ArrivedTail { location: Some(location.to_owned()) });
        Arrived { parts: parts.iter().copied().collect(), tail, storage_upload: Some(upload) }
    }

    #[test]
    fn a_session_that_has_arrived_whole_changes_only_what_belongs_to_its_storage_and_its_expiry() {
        let before = session();
        let after = before.moved(arrived(&[1, 2], Some("there")), DOWNTIME, at(9));
        let tail = before.tail.clone().map(|tail| Tail { location: Some("there".to_owned()), ..tail });
        let upload = Some(MultipartUpload { id: "there".to_owned(), checks_crc64: true });
        let expires_at = before.expires_at + DOWNTIME;
        let version = before.version + 1;
        let expected = Session { tail, storage_upload: upload, expires_at, version, updated_at: at(9), ..before };
        assert_eq!(after, expected);
    }

    #[test]
    fn what_has_not_arrived_is_missing() {
        let before = session();
        for (parts, tail, received, contiguous) in [
            (&[1, 2][..], None, "1-2", 20),
            (&[2], Some("there"), "2", 0),
            (&[1], Some("there"), "1", 10),
            (&[], None, "", 0),
        ] {
            let after = before.moved(arrived(parts, tail), DOWNTIME, at(9));
            assert_eq!((after.received.to_string(), after.contiguous_bytes()), (received.to_owned(), contiguous));
            assert_eq!((after.tail.clone(), after.append_offset), (None, contiguous));
            assert_eq!(after.bytes_received, 10 * parts.len() as u64);
            assert_eq!(after.version, before.version + 1);
            let status = if parts.is_empty() { SessionStatus::Init } else { SessionStatus::InProgress };
            assert_eq!(after.status, status);
        }
    }
}

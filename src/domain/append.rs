//! Appends: bytes that arrive in the order of the file.
//!
//! Owns the tail of a session, where the next append may begin, and the changes that an append makes to a session. The
//! invariants, as long as the session is open:
//!
//! 1. The received set has exactly the parts whose bytes are durable. The tail is in no part.
//! 2. All bytes below [`Session::contiguous_bytes`] are durable. At most one part has a tail: the first one that has not
//!    arrived. `append_offset` is then the end of the tail.
//! 3. `contiguous_bytes` never decreases, and a byte below it never changes, unless the storage loses bytes.
//!
//! Does not own the other state changes: those are in `upload`.

use chrono::TimeDelta;

use super::{Part, Session, SessionStatus, Sha256Digest, Timestamp};

/// The durable first bytes of a part that has not arrived in full.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tail {
    /// The part.
    pub part: Part,
    /// How many of its bytes are durable: at least 1, and fewer than the part has.
    pub bytes: u64,
    /// The SHA-256 of those bytes.
    pub sha256: Sha256Digest,
    /// The object that holds them; `None` on a local disk, where they are at their place in the file.
    pub location: Option<String>,
}

impl Tail {
    /// The offset in the file of the first byte after the tail.
    pub fn end(&self) -> u64 {
        self.part.offset_bytes + self.bytes
    }
}

impl Session {
    /// How many bytes from the beginning of the file are durable without a gap.
    pub fn contiguous_bytes(&self) -> u64 {
        match &self.tail {
            Some(tail) => tail.end(),
            None => self.plan.prefix_bytes(self.received.prefix_len()),
        }
    }

    /// The tail of this part.
    pub fn tail_of(&self, part: Part) -> Option<&Tail> {
        self.tail.as_ref().filter(|tail| tail.part == part)
    }

    /// Whether the storage has bytes of the session.
    pub fn has_bytes(&self) -> bool {
        self.tail.is_some() || !self.received.is_empty()
    }

    /// Whether an append may begin at this offset: at the first byte that is missing, or where the latest append ended. The
    /// second is lower if the parts after that append arrived on their own.
    pub fn accepts_append_at(&self, offset: u64) -> bool {
        offset == self.contiguous_bytes() || offset == self.append_offset
    }

    /// Records a part of which an append brought the last bytes. A part that was recorded before changes nothing.
    pub fn append_part(&mut self, part: Part, now: Timestamp, ttl: TimeDelta) -> bool {
        let is_new = self.record_part(part, now, ttl);
        if is_new && self.contiguous_bytes() >= part.end() {
            self.append_offset = self.append_offset.max(part.end());
        }
        is_new
    }

    /// Records the first bytes of a part. `replaced` is the digest of the part's earlier tail, which the new tail begins with.
    /// Does nothing if the session has other bytes of this part by now.
    pub fn append_tail(&mut self, tail: Tail, replaced: Option<Sha256Digest>, now: Timestamp, ttl: TimeDelta) -> bool {
        let is_next = tail.bytes < tail.part.size_bytes
            && !self.received.contains(tail.part.number)
            && self.contiguous_bytes() >= tail.part.offset_bytes
            && self.contiguous_bytes() < tail.end()
            && self.tail_of(tail.part).map(|before| before.sha256) == replaced;
        if !self.status.is_open() || !is_next {
            return false;
        }
        self.append_offset = tail.end();
        self.tail = Some(tail);
        self.status = SessionStatus::InProgress;
        self.expires_at = now + ttl;
        self.touch(now);
        true
    }

    /// Records that an append compared the bytes below `offset`, which were durable before, and found them equal.
    pub fn append_compared(&mut self, offset: u64, now: Timestamp) -> bool {
        let is_ahead = offset > self.append_offset && offset <= self.contiguous_bytes();
        if !self.status.is_open() || !is_ahead {
            return false;
        }
        self.append_offset = offset;
        self.touch(now);
        true
    }

    /// Makes the session finalize as soon as it has all bytes.
    pub fn finalize_automatically(&mut self, now: Timestamp) -> bool {
        if !self.status.is_open() || self.auto_finalize {
            return false;
        }
        self.auto_finalize = true;
        self.touch(now);
        true
    }
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;
    use crate::domain::{OwnerName, PartPlan, Upload, UploadRequest};

    const NOW: Timestamp = Timestamp::UNIX_EPOCH;
    const TTL: TimeDelta = TimeDelta::hours(1);

    fn session() -> Session {
        let request = UploadRequest::new("a", "text/plain", PartPlan::new(45, 10).unwrap());
        Upload::new(&OwnerName::parse("ann").unwrap(), request, NOW, TTL).session
    }

    fn tail(session: &Session, end: u64) -> Tail {
        let part = session.plan.part_at(end - 1).unwrap();
        Tail { part, bytes: end - part.offset_bytes, sha256: Sha256Digest::of(&end.to_be_bytes()), location: None }
    }

    /// Records a tail that continues the present one.
    fn append_tail(session: &mut Session, end: u64) -> bool {
        let tail = tail(session, end);
        let replaced = session.tail_of(tail.part).map(|tail| tail.sha256);
        session.append_tail(tail, replaced, NOW, TTL)
    }

    #[test]
    fn a_tail_needs_the_bytes_before_it_and_the_tail_that_it_continues() {
        let mut session = session();
        assert!(!append_tail(&mut session, 13), "part 1 is missing");
        assert!(append_tail(&mut session, 4));
        assert!(!session.append_tail(tail(&session, 7), None, NOW, TTL), "another append has recorded a tail");
        assert!(!append_tail(&mut session, 3), "it would lose a byte");
        assert!(append_tail(&mut session, 7));
        assert_eq!((session.contiguous_bytes(), session.append_offset, session.version), (7, 7, 3));
        assert!(session.record_part(session.plan.part(1).unwrap(), NOW, TTL));
        assert_eq!((session.tail.clone(), session.append_offset), (None, 10));
        assert!(!append_tail(&mut session, 7), "the part has arrived");
    }

    #[test]
    fn a_part_that_must_be_sent_again_takes_the_later_tail_with_it() {
        let mut session = session();
        assert!(session.append_part(session.plan.part(1).unwrap(), NOW, TTL));
        assert!(append_tail(&mut session, 15));
        assert!(session.forget_part(session.plan.part(1).unwrap(), NOW));
        assert_eq!((session.tail.clone(), session.contiguous_bytes(), session.append_offset), (None, 0, 0));
    }

    proptest! {
        #[test]
        fn the_durable_prefix_never_shrinks(moves in vec((0_u8..4, 0_u64..46), 1..40)) {
            let mut session = session();
            for (kind, at) in moves {
                let (before, version) = (session.contiguous_bytes(), session.version);
                let part = session.plan.part_at(at);
                let has_changed = match (kind, part) {
                    (0, Some(_)) => append_tail(&mut session, at + 1),
                    (1, Some(part)) => session.append_part(part, NOW, TTL),
                    (2, Some(part)) => session.record_part(part, NOW, TTL),
                    _ => session.append_compared(at, NOW),
                };
                prop_assert_eq!(session.version, version + u64::from(has_changed));
                prop_assert!(session.contiguous_bytes() >= before);
                prop_assert!(session.append_offset <= session.contiguous_bytes());
                prop_assert!(session.accepts_append_at(session.contiguous_bytes()));
                if let Some(tail) = &session.tail {
                    prop_assert!(!session.received.contains(tail.part.number));
                    prop_assert_eq!(session.received.prefix_len() + 1, tail.part.number);
                    prop_assert!(tail.bytes > 0 && tail.bytes < tail.part.size_bytes);
                    prop_assert_eq!(tail.end(), session.append_offset);
                }
            }
        }
    }
}

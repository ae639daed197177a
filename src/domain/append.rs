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
        let is_next = !self.received.contains(tail.part.number)
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

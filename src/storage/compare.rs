//! Comparing the bytes of parts with the digests that they had when they arrived.
//!
//! Owns the two hashes that one reading feeds: the whole file's and each part's.

use std::{collections::VecDeque, ops::Range};

use sha2::{Digest, Sha256};

use crate::domain::{PartRecord, PartSet, Sha256Digest};

/// What was found in some consecutive parts.
#[derive(Debug)]
pub struct Compared {
    /// The hasher that was given, fed with all of their bytes.
    pub hasher: Sha256,
    /// Those whose bytes are not the ones that arrived.
    pub damaged: PartSet,
}

/// The bytes of consecutive parts.
pub(super) fn range_of(parts: &[PartRecord]) -> Range<u64> {
    let begin = parts.first().map_or(0, |first| first.part.offset_bytes);
    begin..parts.last().map_or(0, |last| last.part.offset_bytes + last.part.size_bytes)
}

/// A reading that is under way.
pub(super) struct Comparing {
    waiting: VecDeque<PartRecord>,
    left_bytes: u64,
    part: Sha256,
    compared: Compared,
}

impl Comparing {
    /// Begins with the first byte of the first part; none of them is empty.
    pub(super) fn new(hasher: Sha256, parts: &[PartRecord]) -> Self {
        let waiting: VecDeque<_> = parts.iter().cloned().collect();
        let left_bytes = waiting.front().map_or(0, |first| first.part.size_bytes);
        Self { waiting, left_bytes, part: Sha256::new(), compared: Compared { hasher, damaged: PartSet::new() } }
    }

    /// Takes the next bytes. What comes after the last part is left out.
    pub(super) fn push(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() && !self.waiting.is_empty() {
            let len = usize::try_from(self.left_bytes).map_or(bytes.len(), |left| left.min(bytes.len()));
            let (now, later) = bytes.split_at(len);
            self.compared.hasher.update(now);
            self.part.update(now);
            self.left_bytes -= len as u64;
            bytes = later;
            if self.left_bytes == 0 {
                self.end_part();
            }
        }
    }

    fn end_part(&mut self) {
        let actual: Sha256Digest = std::mem::take(&mut self.part).into();
        if let Some(record) = self.waiting.pop_front().filter(|record| record.sha256 != actual) {
            self.compared.damaged.insert(record.part.number);
        }
        self.left_bytes = self.waiting.front().map_or(0, |next| next.part.size_bytes);
    }

    /// What was found, once all bytes were taken. Parts whose bytes did not come are damaged too.
    pub(super) fn finish(mut self) -> Compared {
        for record in &self.waiting {
            self.compared.damaged.insert(record.part.number);
        }
        self.compared
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{Clock, PartPlan, SystemClock};

    #[test]
    fn however_the_bytes_come_the_damaged_parts_are_named_and_the_hash_is_of_all() {
        let (plan, bytes) = (PartPlan::new(25, 10).unwrap(), b"0123456789abcdefghijABCDE");
        let record = |number: u32| {
            let part = plan.part(number).unwrap();
            let offset = usize::try_from(part.offset_bytes).unwrap();
            let sha256 = Sha256Digest::of(&bytes[offset..bytes.len().min(offset + 10)]);
            PartRecord { part, sha256, storage_etag: None, received_at: SystemClock.now() }
        };
        let mut damaged = *bytes;
        (damaged[9], damaged[24]) = (b'!', b'!');
        for piece in [1, 7, 10, 25] {
            let mut comparing = Comparing::new(Sha256::new(), &[record(1), record(2), record(3)]);
            damaged.chunks(piece).for_each(|piece| comparing.push(piece));
            let compared = comparing.finish();
            assert_eq!(compared.damaged.to_string(), "1,3");
            assert_eq!(Sha256Digest::from(compared.hasher), Sha256Digest::of(&damaged));
        }
    }
}

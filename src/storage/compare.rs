//! Compares the bytes of parts with their recorded digests.
//!
//! Owns the hashes that one pass over the bytes computes: the whole file's and each part's. Does not own reading: each
//! storage reads the bytes and passes them in.

use std::{collections::VecDeque, ops::Range};

use sha2::{Digest, Sha256};

use crate::domain::{Crc64Nvme, Hasher, PartRecord, PartSet};

/// The result of comparing consecutive parts with their digests.
#[derive(Debug)]
pub struct Compared {
    /// The caller's hasher, after all bytes of the parts.
    pub hasher: Sha256,
    /// The CRC-64/NVME of these parts: of all their bytes, as they are now.
    pub crc64nvme: Crc64Nvme,
    /// The parts whose bytes are missing or do not match the recorded digest.
    pub damaged: PartSet,
}

/// The byte range of consecutive parts.
pub(super) fn byte_range(parts: &[PartRecord]) -> Range<u64> {
    let begin = parts.first().map_or(0, |first| first.part.offset_bytes);
    begin..parts.last().map_or(0, |last| last.part.offset_bytes + last.part.size_bytes)
}

/// Compares consecutive parts while their bytes are read.
pub(super) struct PartComparer {
    /// The current part and those after it.
    remaining: VecDeque<PartRecord>,
    /// Bytes of the current part that were not read yet.
    left_bytes: u64,
    /// Hash of the current part.
    part: Hasher,
    compared: Compared,
}

impl PartComparer {
    /// Starts at the first byte of the first part. No part may be empty.
    pub(super) fn new(hasher: Sha256, parts: &[PartRecord]) -> Self {
        let remaining: VecDeque<_> = parts.iter().cloned().collect();
        let left_bytes = remaining.front().map_or(0, |first| first.part.size_bytes);
        let compared = Compared { hasher, crc64nvme: Crc64Nvme::EMPTY, damaged: PartSet::new() };
        Self { remaining, left_bytes, part: Hasher::default(), compared }
    }

    /// Processes the next bytes. Ignores bytes after the last part.
    pub(super) fn push(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() && !self.remaining.is_empty() {
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
        let actual = std::mem::take(&mut self.part).finish();
        if let Some(record) = self.remaining.pop_front() {
            let before = (self.compared.crc64nvme, 0);
            self.compared.crc64nvme = Crc64Nvme::of_pieces([before, (actual.crc64nvme, record.part.size_bytes)]);
            let is_same = record.crc64nvme.is_none_or(|recorded| recorded == actual.crc64nvme);
            if record.sha256 != actual.sha256 || !is_same {
                self.compared.damaged.insert(record.part.number);
            }
        }
        self.left_bytes = self.remaining.front().map_or(0, |next| next.part.size_bytes);
    }

    /// Returns the result. Parts whose bytes were not all pushed count as damaged.
    pub(super) fn finish(mut self) -> Compared {
        for record in &self.remaining {
            self.compared.damaged.insert(record.part.number);
        }
        self.compared
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{Clock, Digests, PartPlan, Sha256Digest, SystemClock};

    #[test]
    fn the_result_names_the_damaged_parts_and_hashes_all_bytes_for_every_block_size() {
        let (plan, bytes) = (PartPlan::new(25, 10).unwrap(), b"0123456789abcdefghijABCDE");
        let record = |number: u32| {
            let part = plan.part(number).unwrap();
            let offset = usize::try_from(part.offset_bytes).unwrap();
            let Digests { sha256, crc64nvme } = Digests::of(&bytes[offset..bytes.len().min(offset + 10)]);
            // An earlier version recorded no checksums.
            let crc64nvme = (number != 2).then_some(crc64nvme);
            PartRecord { part, sha256, crc64nvme, storage_etag: None, received_at: SystemClock.now() }
        };
        let mut damaged = *bytes;
        (damaged[9], damaged[24]) = (b'!', b'!');
        for piece in [1, 7, 10, 25] {
            let mut comparer = PartComparer::new(Sha256::new(), &[record(1), record(2), record(3)]);
            damaged.chunks(piece).for_each(|piece| comparer.push(piece));
            let compared = comparer.finish();
            assert_eq!(compared.damaged.to_string(), "1,3");
            let actual = (Sha256Digest::from(compared.hasher), compared.crc64nvme);
            let Digests { sha256, crc64nvme } = Digests::of(&damaged);
            assert_eq!(actual, (sha256, crc64nvme));
        }
    }
}

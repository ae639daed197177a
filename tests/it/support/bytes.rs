//! Pseudo-random bytes and numbers that are the same on every run.

use partway::{
    client::LocalDigests,
    domain::{Digests, Sha256Digest},
};
use sha2::{Digest, Sha256};

/// SplitMix64.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = self.0;
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        word ^ (word >> 31)
    }

    pub(crate) fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % end as u64).unwrap()
    }
}

/// The bytes of a file in which no two parts are equal.
pub(crate) fn file_bytes(len: usize) -> Vec<u8> {
    let mut random = Random::new(1);
    let mut bytes = Vec::with_capacity(len + 8);
    while bytes.len() < len {
        bytes.extend(random.next().to_le_bytes());
    }
    bytes.truncate(len);
    bytes
}

pub(crate) fn sha256_hex(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}

/// The CRC-64/NVME in base64.
pub(crate) fn crc64nvme(bytes: &[u8]) -> String {
    Digests::of(bytes).crc64nvme.to_string()
}

/// The composite digest of a file with parts of this size.
pub(crate) fn composite(file: &[u8], part_bytes: usize) -> Sha256Digest {
    Sha256Digest::composite(file.chunks(part_bytes).map(Sha256Digest::of))
}

/// What a client proves of a file with parts of this size.
pub(crate) fn local_digests(file: &[u8], part_bytes: usize) -> LocalDigests {
    let parts: Vec<_> = file.chunks(part_bytes).map(|part| (Digests::of(part), part.len() as u64)).collect();
    LocalDigests::of_parts(&parts)
}

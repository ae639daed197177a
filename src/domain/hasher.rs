//! The digests of bytes, computed in one pass.
//!
//! Owns that both digests of a part are computed from the same bytes at the same time: the CRC costs little beside the SHA-256,
//! because the bytes are still in the processor's cache.

use crc_fast::CrcAlgorithm;
use sha2::{Digest, Sha256};

use super::{Crc64Nvme, Sha256Digest};

/// How many bytes both hashes read in turn: they fit into the processor's cache.
const BLOCK_BYTES: usize = 64 * 1024;

/// The digests of a sequence of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Digests {
    /// Their SHA-256.
    pub sha256: Sha256Digest,
    /// Their CRC-64/NVME.
    pub crc64nvme: Crc64Nvme,
}

impl Digests {
    /// The digests of these bytes.
    pub fn of(bytes: &[u8]) -> Self {
        let mut hasher = Hasher::default();
        hasher.update(bytes);
        hasher.finish()
    }
}

/// The digests of a file's bytes, as far as they are known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FileDigests {
    /// Their SHA-256.
    pub sha256: Option<Sha256Digest>,
    /// Their CRC-64/NVME.
    pub crc64nvme: Option<Crc64Nvme>,
}

/// Computes both digests of the bytes that it is fed.
#[derive(Clone, Debug)]
pub struct Hasher {
    sha256: Sha256,
    crc64nvme: crc_fast::Digest,
}

impl Default for Hasher {
    fn default() -> Self {
        Self { sha256: Sha256::new(), crc64nvme: crc_fast::Digest::new(CrcAlgorithm::Crc64Nvme) }
    }
}

impl Hasher {
    /// Feeds it the next bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        for block in bytes.chunks(BLOCK_BYTES) {
            self.sha256.update(block);
            self.crc64nvme.update(block);
        }
    }

    /// The digests of all bytes.
    pub fn finish(self) -> Digests {
        Digests { sha256: self.sha256.into(), crc64nvme: self.crc64nvme.finalize().into() }
    }
}

//! An upload session.
//!
//! Owns the fields of a session and the values that are computed from them. Does not own the state changes: those are
//! in `upload`.

use super::{Crc64Nvme, FileId, OwnerName, Part, PartPlan, PartSet, SessionId, Sha256Digest, Tail, Timestamp};

/// The status of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SessionStatus {
    /// Created; no bytes have arrived.
    Init,
    /// Bytes have arrived.
    InProgress,
    /// Finalized: the file is stored.
    Complete,
    /// Ended by an error that a retry cannot repair; see the status reason.
    Failed,
    /// Ended by its owner or by expiry; see the status reason.
    Aborted,
}

impl SessionStatus {
    /// Every status.
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

    /// Whether the session accepts parts.
    pub fn is_open(self) -> bool {
        matches!(self, Self::Init | Self::InProgress)
    }
}

/// Why a session ended without a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StatusReason {
    /// Its owner aborted it.
    AbortedByOwner,
    /// No client used it for the session time-to-live.
    Expired,
    /// The stored bytes do not have the digest that was declared at creation.
    ChecksumMismatch,
    /// The storage has lost or changed bytes of received parts.
    BytesLost,
}

impl StatusReason {
    /// Every reason.
    pub const ALL: [Self; 4] = [Self::AbortedByOwner, Self::Expired, Self::ChecksumMismatch, Self::BytesLost];

    /// The reason with this name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|reason| reason.as_str() == name)
    }

    /// The status of a session that ended for this reason.
    pub const fn status(self) -> SessionStatus {
        match self {
            Self::AbortedByOwner | Self::Expired => SessionStatus::Aborted,
            Self::ChecksumMismatch | Self::BytesLost => SessionStatus::Failed,
        }
    }

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
    /// Its file. Each session has one file of its own.
    pub file_id: FileId,
    /// Its owner.
    pub owner: OwnerName,
    /// Its status.
    pub status: SessionStatus,
    /// Why it ended without a file.
    pub status_reason: Option<StatusReason>,
    /// How its file is cut.
    pub plan: PartPlan,
    /// Which parts are durable.
    pub received: PartSet,
    /// The number of bytes in those parts.
    pub bytes_received: u64,
    /// Where the latest append ended. At most [`contiguous_bytes`](Self::contiguous_bytes).
    pub append_offset: u64,
    /// The first bytes of the part that an append has brought only in part.
    pub tail: Option<Tail>,
    /// Whether the server finalizes the session as soon as it has all bytes.
    pub auto_finalize: bool,
    /// Whether the file was stored and then deleted.
    pub file_deleted: bool,
    /// Whether the server still has the records of its parts. It removes them some time after the end of the session.
    pub keeps_part_records: bool,
    /// Grows by one with every change.
    pub version: u64,
    /// The client's name for the request that created it; unique per owner.
    pub idempotency_key: Option<String>,
    /// The SHA-256 of the whole file, if the client declared it at creation.
    pub declared_sha256: Option<Sha256Digest>,
    /// The CRC-64/NVME of the whole file, if the client declared it at creation.
    pub declared_crc64nvme: Option<Crc64Nvme>,
    /// The object store's multipart upload of it, from the first part on; `None` on a local disk.
    pub storage_upload: Option<MultipartUpload>,
    /// When the sweep will abort it, unless a part arrives before.
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

    /// Whether the records of all its received parts can be read. A session without parts has all of them.
    pub fn has_part_records(&self) -> bool {
        self.keeps_part_records || self.received.is_empty()
    }

    /// Whether the SHA-256 of the whole file must be known before the session is complete, even if no client asks for it at
    /// finalize: the server hashes every file, or the client declared a digest at creation.
    pub fn must_hash(&self, hashes_every_file: bool) -> bool {
        hashes_every_file || self.declared_sha256.is_some()
    }

    /// The share of the file's bytes that has arrived, from 0 to 1. An empty file is at 1 from the start.
    #[expect(clippy::cast_precision_loss, reason = "a share for display")]
    pub fn progress(&self) -> f64 {
        match self.plan.total_size_bytes() {
            0 => 1.0,
            total => self.bytes_received as f64 / total as f64,
        }
    }
}

/// A multipart upload of an object store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MultipartUpload {
    /// The store's id of it.
    pub id: String,
    /// Whether the store checks the CRC-64/NVME of each part. It then expects one with each of them.
    pub checks_crc64: bool,
}

/// A part that is durable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartRecord {
    /// Its number, place and size.
    pub part: Part,
    /// The SHA-256 of its bytes.
    pub sha256: Sha256Digest,
    /// The CRC-64/NVME of its bytes. `None` if a version of the server received it that did not compute one.
    pub crc64nvme: Option<Crc64Nvme>,
    /// The object store's ETag of the part; `None` on a local disk. Needed to complete the multipart upload.
    pub storage_etag: Option<String>,
    /// When it was acknowledged.
    pub received_at: Timestamp,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_status_has_a_name_of_its_own() {
        for status in SessionStatus::ALL {
            assert_eq!(SessionStatus::parse(status.as_str()), Some(status));
        }
        assert_eq!(SessionStatus::parse("init"), None);
    }
}

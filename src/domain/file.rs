//! The file that a session is for.
//!
//! Owns the record of a file. A stored file outlives its session; clients download it.

use unicode_normalization::UnicodeNormalization;

use super::{Crc64Nvme, FileId, Metadata, OwnerName, Sha256Digest, Timestamp};

/// The status of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileStatus {
    /// Its session is open; there is no content yet.
    Uploading,
    /// Complete; its content can be downloaded.
    Stored,
    /// Its session failed or was aborted; there will be no content.
    Failed,
    /// It was stored and then deleted, by its owner or at the end of its retention. The record remains.
    Deleted,
}

impl FileStatus {
    /// Every status.
    pub const ALL: [Self; 4] = [Self::Uploading, Self::Stored, Self::Failed, Self::Deleted];

    /// The name used in the database and in both protocols.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Uploading => "UPLOADING",
            Self::Stored => "STORED",
            Self::Failed => "FAILED",
            Self::Deleted => "DELETED",
        }
    }

    /// The status with this name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.as_str() == name)
    }
}

/// The record of a file.
#[derive(Clone, Debug, PartialEq)]
pub struct FileRecord {
    /// Its id.
    pub id: FileId,
    /// Its owner.
    pub owner: OwnerName,
    /// Its name on the client's side. Never used as a path.
    pub original_filename: String,
    /// Its media type, as the client declared it.
    pub content_type: String,
    /// Its size.
    pub size_bytes: u64,
    /// The SHA-256 of its bytes, computed by the server. `None` until the file is stored, and after that if the server
    /// computes it on request only and no client has asked.
    pub sha256: Option<Sha256Digest>,
    /// The CRC-64/NVME of its bytes. `None` until the file is stored, and after that if a version of the server received parts that
    /// computed none, and no client has asked.
    pub crc64nvme: Option<Crc64Nvme>,
    /// The SHA-256 of its parts' SHA-256, see [`Sha256Digest::composite`]; `None` until finalized.
    pub composite_sha256: Option<Sha256Digest>,
    /// The metadata that the client attached to it.
    pub metadata: Metadata,
    /// The metadata as a tus client sent it: the value of `Upload-Metadata`. `None` if no tus client created the file.
    pub upload_metadata: Option<String>,
    /// Its status.
    pub status: FileStatus,
    /// Where the storage keeps it; `None` unless it is stored.
    pub location: Option<String>,
    /// When the server deletes it. `None` if never, or if it is not stored yet and the client has chosen no time.
    pub retain_until: Option<Timestamp>,
    /// When its session was created.
    pub created_at: Timestamp,
    /// When this record last changed.
    pub updated_at: Timestamp,
}

impl FileRecord {
    /// Whether both digests of its bytes are known.
    pub fn has_digests(&self) -> bool {
        self.sha256.is_some() && self.crc64nvme.is_some()
    }
}

/// The form in which names are compared: Unicode normal form C. macOS decomposes names, and the same name must match from
/// every system.
pub fn filename_key(name: &str) -> String {
    name.nfc().collect()
}

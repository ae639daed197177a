//! The file that a session is for.
//!
//! Owns what is known of a file. It outlives its session: once stored it is what people download.

use unicode_normalization::UnicodeNormalization;

use super::{FileId, Metadata, OwnerName, Sha256Digest, Timestamp};

/// How far a file has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileStatus {
    /// Its session is open; there is no content yet.
    Uploading,
    /// Complete; its content can be downloaded.
    Stored,
    /// Its session failed or was aborted; there will be no content.
    Failed,
}

impl FileStatus {
    /// Every status, for reading one back from its name.
    pub const ALL: [Self; 3] = [Self::Uploading, Self::Stored, Self::Failed];

    /// The name used in the database and in both protocols.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Uploading => "UPLOADING",
            Self::Stored => "STORED",
            Self::Failed => "FAILED",
        }
    }
}

/// What is known of a file.
#[derive(Clone, Debug, PartialEq)]
pub struct FileRecord {
    /// Its id.
    pub id: FileId,
    /// Whose it is.
    pub owner: OwnerName,
    /// Its name on the sender's side. Never used as a path.
    pub original_filename: String,
    /// Its media type, as the sender declared it.
    pub content_type: String,
    /// Its size.
    pub size_bytes: u64,
    /// The SHA-256 of its bytes, computed by the server; `None` until finalized, and after it where the server computes
    /// it on request only and nobody asked.
    pub sha256: Option<Sha256Digest>,
    /// The SHA-256 of its parts' SHA-256, see [`Sha256Digest::composite`]; `None` until finalized.
    pub composite_sha256: Option<Sha256Digest>,
    /// What the sender attached to it.
    pub metadata: Metadata,
    /// How far it has come.
    pub status: FileStatus,
    /// Where storage keeps it; `None` until stored.
    pub location: Option<String>,
    /// When its session was created.
    pub created_at: Timestamp,
    /// When this record last changed.
    pub updated_at: Timestamp,
}

/// The form in which names are compared: Unicode normal form C, so that a name is the same from a system that decomposes
/// names (macOS).
pub fn filename_key(name: &str) -> String {
    name.nfc().collect()
}

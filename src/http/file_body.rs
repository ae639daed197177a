//! The JSON of a file's record.
//!
//! Owns its fields, which are the same in the answer to an upload as in every later answer.

use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::domain::{Crc64Nvme, FileRecord, FileStatus, Metadata, Sha256Digest, Timestamp};

/// A file in the answer for its session.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = File)]
pub(crate) struct FileBody {
    file_id: Uuid,
    /// Its name on the client's side.
    original_filename: String,
    /// Its media type, as the client declared it.
    content_type: String,
    size_bytes: u64,
    /// The SHA-256 of its bytes, which the server computed. Null until somebody asks, unless the server computes it for every file.
    #[schema(required, value_type = Option<Sha256Digest>)]
    sha256: Option<String>,
    /// The CRC-64/NVME of its bytes. Null until the file is stored.
    #[schema(required, value_type = Option<Crc64Nvme>)]
    crc64nvme: Option<String>,
    /// The SHA-256 over the SHA-256 digests of its parts, 32 bytes each, in order.
    #[schema(required, value_type = Option<Sha256Digest>)]
    composite_sha256: Option<String>,
    #[schema(value_type = FileStatus)]
    status: &'static str,
    metadata: Metadata,
    /// When the server deletes the stored file.
    #[schema(required, value_type = Option<String>, format = DateTime)]
    retain_until: Option<Timestamp>,
}

impl From<FileRecord> for FileBody {
    fn from(file: FileRecord) -> Self {
        Self {
            file_id: file.id.0,
            original_filename: file.original_filename,
            content_type: file.content_type,
            size_bytes: file.size_bytes,
            sha256: file.sha256.map(|digest| digest.to_string()),
            crc64nvme: file.crc64nvme.map(|checksum| checksum.to_string()),
            composite_sha256: file.composite_sha256.map(|digest| digest.to_string()),
            status: file.status.as_str(),
            metadata: file.metadata,
            retain_until: file.retain_until,
        }
    }
}

impl FileBody {
    /// The bytes of the texts that a client chose.
    pub(crate) fn text_bytes(&self) -> usize {
        self.original_filename.len() + self.metadata.as_json().get().len()
    }
}

/// A file in an answer of its own.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = FileRecord)]
pub(crate) struct FileRecordBody {
    #[serde(flatten)]
    file: FileBody,
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    #[schema(value_type = String, format = DateTime)]
    updated_at: Timestamp,
}

impl From<FileRecord> for FileRecordBody {
    fn from(file: FileRecord) -> Self {
        let (created_at, updated_at) = (file.created_at, file.updated_at);
        Self { file: file.into(), created_at, updated_at }
    }
}

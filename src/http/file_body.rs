//! The JSON of a file's record.
//!
//! Owns its fields, which are the same in the answer to an upload as in every later answer.

use serde::Serialize;
use uuid::Uuid;

use crate::domain::{FileRecord, Metadata, Timestamp};

/// A file in the answer for its session.
#[derive(Debug, Serialize)]
pub(crate) struct FileBody {
    file_id: Uuid,
    original_filename: String,
    content_type: String,
    size_bytes: u64,
    sha256: Option<String>,
    composite_sha256: Option<String>,
    status: &'static str,
    metadata: Metadata,
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
#[derive(Debug, Serialize)]
pub(crate) struct FileRecordBody {
    #[serde(flatten)]
    file: FileBody,
    created_at: Timestamp,
    updated_at: Timestamp,
}

impl From<FileRecord> for FileRecordBody {
    fn from(file: FileRecord) -> Self {
        let (created_at, updated_at) = (file.created_at, file.updated_at);
        Self { file: file.into(), created_at, updated_at }
    }
}

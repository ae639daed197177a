//! The JSON bodies of requests and responses.
//!
//! Owns the fields of the REST contract that the client uses; `docs/api.md` describes them. Does not send requests: that is
//! `api`.

use serde::{
    Deserialize, Deserializer, Serialize,
    de::{DeserializeOwned, Error},
};
use serde_json::{Map, Value, value::RawValue};

use super::local_file::LocalFile;
use crate::domain::{Crc64Nvme, Digests, Sha256Digest};

/// The request to create a session.
#[derive(Clone, Debug, Serialize)]
#[expect(missing_docs, reason = "docs/api.md describes the fields")]
pub struct NewUpload<'a> {
    pub original_filename: &'a str,
    pub content_type: &'a str,
    pub total_size_bytes: u64,
    #[serde(skip_serializing_if = "Map::is_empty")]
    pub metadata: Map<String, Value>,
    pub idempotency_key: &'a str,
}

impl<'a> NewUpload<'a> {
    /// A request for this file. The server returns the same session for the same key.
    pub fn of(file: &'a LocalFile, idempotency_key: &'a str) -> Self {
        Self {
            original_filename: &file.name,
            content_type: &file.content_type,
            total_size_bytes: file.size_bytes,
            metadata: file.metadata.clone(),
            idempotency_key,
        }
    }

    /// A request for a file of this name and size, without metadata.
    pub fn named(original_filename: &'a str, total_size_bytes: u64, idempotency_key: &'a str) -> Self {
        let content_type = "application/octet-stream";
        Self { original_filename, content_type, total_size_bytes, metadata: Map::new(), idempotency_key }
    }
}

/// A session in a response.
#[derive(Clone, Debug, Deserialize)]
#[expect(missing_docs, reason = "docs/api.md describes the fields")]
pub struct SessionBody {
    pub session_id: String,
    pub status: String,
    pub status_reason: Option<String>,
    pub total_parts: u32,
    pub completed_parts: u32,
    pub received_parts: Vec<String>,
    pub missing_parts: Vec<String>,
    pub chunk_size_bytes: u64,
    pub total_size_bytes: u64,
    pub bytes_received: u64,
    pub version: u64,
    pub file: FileBody,
    pub expires_at: chrono::DateTime<chrono::Utc>,
}

/// A file in a response.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[expect(missing_docs, reason = "docs/api.md describes the fields")]
pub struct FileBody {
    pub file_id: String,
    pub original_filename: String,
    pub content_type: String,
    pub size_bytes: u64,
    pub sha256: Option<String>,
    pub crc64nvme: Option<String>,
    pub composite_sha256: Option<String>,
    pub status: String,
    #[serde(skip_serializing)]
    pub metadata: FileMetadata,
    /// Only the file's own record has it.
    #[serde(default, skip_serializing)]
    pub created_at: Option<chrono::DateTime<chrono::Utc>>,
}

/// What the client reads of a file's metadata. The rest may contain anything, such as numbers that no type here can hold.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct FileMetadata {
    #[serde(default)]
    path: Option<Box<RawValue>>,
}

impl FileMetadata {
    /// The path of the file in the folder that it was uploaded with; see [`PATH_KEY`].
    pub fn path(&self) -> Option<String> {
        serde_json::from_str(self.path.as_ref()?.get()).ok()
    }
}

/// The key of a file's path in its metadata, which the page at `/` uses too.
pub const PATH_KEY: &str = "path";

/// An item of a response, with its JSON as the server sent it.
#[derive(Clone, Debug)]
pub struct Verbatim<T> {
    /// What the client reads of it.
    pub item: T,
    /// All of it.
    pub json: Box<RawValue>,
}

impl<'de, T: DeserializeOwned> Deserialize<'de> for Verbatim<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let json = Box::<RawValue>::deserialize(deserializer)?;
        let item = serde_json::from_str(json.get()).map_err(D::Error::custom)?;
        Ok(Self { item, json })
    }
}

/// A page of a list.
#[derive(Clone, Debug, Deserialize)]
pub struct Page<T> {
    /// Sessions or files, newest first.
    #[serde(alias = "sessions", alias = "files")]
    pub items: Vec<T>,
    /// The `after` of the next page, if there is one.
    pub next: Option<String>,
}

/// The digests of a local file, which prove at a finalize that the server has this file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LocalDigests {
    /// The composite digest over its parts.
    pub composite_sha256: Sha256Digest,
    /// Its CRC-64/NVME.
    pub crc64nvme: Crc64Nvme,
}

impl LocalDigests {
    /// The digests of a file with these parts: the digests and the length of each, in order.
    pub fn of_parts(parts: &[(Digests, u64)]) -> Self {
        Self {
            composite_sha256: Sha256Digest::composite(parts.iter().map(|(part, _)| part.sha256)),
            crc64nvme: Crc64Nvme::of_pieces(parts.iter().map(|(part, bytes)| (part.crc64nvme, *bytes))),
        }
    }

    /// Whether the server says the same of its file.
    pub(super) fn are_of(&self, file: &FileBody) -> bool {
        file.composite_sha256 == Some(self.composite_sha256.to_string())
            && file.crc64nvme == Some(self.crc64nvme.to_string())
    }
}

/// A received part in a response.
#[derive(Clone, Debug, Deserialize)]
#[expect(missing_docs, reason = "docs/api.md describes the fields")]
pub struct PartBody {
    pub part_number: u32,
    pub offset_bytes: u64,
    pub size_bytes: u64,
    pub sha256: String,
}

#[derive(Deserialize)]
pub(super) struct PartsBody {
    pub(super) parts: Vec<PartBody>,
    pub(super) next: Option<u32>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct ProblemBody {
    pub(super) code: String,
    pub(super) detail: String,
    pub(super) retryable: bool,
}

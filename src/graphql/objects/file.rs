//! `UploadFile`.

use std::sync::Arc;

use async_graphql::{Context, Enum, ID, Object};

use crate::{
    domain::{FileId, FileRecord, FileStatus},
    graphql::{
        budget::Budget,
        errors::ApiError,
        scalars::{BigInt, DateTime, JsonObject},
        scope::Scope,
    },
};

/// The state of a file.
#[derive(Clone, Copy, PartialEq, Eq, Enum)]
pub(crate) enum UploadFileStatus {
    /// Its session is open; there is no content yet.
    Uploading,
    /// Complete: its content can be downloaded from `/files/{id}/content`.
    Stored,
    /// Its session failed or was aborted; there will be no content.
    Failed,
    /// It was stored and then deleted, by you or at the end of its retention. The record remains.
    Deleted,
}

impl From<FileStatus> for UploadFileStatus {
    fn from(status: FileStatus) -> Self {
        match status {
            FileStatus::Uploading => Self::Uploading,
            FileStatus::Stored => Self::Stored,
            FileStatus::Failed => Self::Failed,
            FileStatus::Deleted => Self::Deleted,
        }
    }
}

impl From<UploadFileStatus> for FileStatus {
    fn from(status: UploadFileStatus) -> Self {
        match status {
            UploadFileStatus::Uploading => Self::Uploading,
            UploadFileStatus::Stored => Self::Stored,
            UploadFileStatus::Failed => Self::Failed,
            UploadFileStatus::Deleted => Self::Deleted,
        }
    }
}

/// A file, during its upload and after it. The record remains when the session has ended.
pub(crate) struct UploadFile {
    file: Arc<FileRecord>,
    budget: Arc<Budget>,
}

impl UploadFile {
    /// The caller's file with this id.
    pub(crate) async fn find(ctx: &Context<'_>, id: FileId) -> Result<Option<Self>, ApiError> {
        let scope = Scope::of(ctx);
        Ok(scope.loaders.file(id).await?.map(|file| Self::new(file, &scope.budget)))
    }

    /// A file in the answer with this budget.
    pub(crate) fn new(file: Arc<FileRecord>, budget: &Arc<Budget>) -> Self {
        Self { file, budget: Arc::clone(budget) }
    }
}

/// A file, during its upload and after it. The record remains when the session has ended.
#[Object]
impl UploadFile {
    /// The file's id; the same as in `GET /files/{id}`.
    pub(crate) async fn id(&self) -> ID {
        self.file.id.0.into()
    }

    /// The file's name, as the client declared it.
    async fn original_filename(&self) -> Result<&str, ApiError> {
        self.budget.text(self.file.original_filename.as_str()).await
    }

    /// The file's media type, as the client declared it.
    async fn content_type(&self) -> &str {
        &self.file.content_type
    }

    /// Its size in bytes.
    async fn size_bytes(&self) -> BigInt {
        BigInt(self.file.size_bytes)
    }

    /// The SHA-256 of the file's bytes in hex, computed by the server. Null until the session is finalized. It stays null
    /// if the server computes it only on request, until a client declares a SHA-256 or calls `computeFileSha256`.
    async fn sha256(&self) -> Option<String> {
        self.file.sha256.map(|digest| digest.to_string())
    }

    /// The CRC-64/NVME of the file's bytes: 8 bytes in base64, as S3 writes it. Null until the session is finalized. It stays null if
    /// an earlier version of the server received parts, until a client says a CRC-64/NVME or calls `computeFileSha256`.
    #[graphql(name = "crc64nvme")]
    async fn crc64nvme(&self) -> Option<String> {
        self.file.crc64nvme.map(|checksum| checksum.to_string())
    }

    /// The SHA-256 in hex over the SHA-256 digests of the parts, 32 bytes each, in the order of the parts. Null until the
    /// session is finalized.
    async fn composite_sha256(&self) -> Option<String> {
        self.file.composite_sha256.map(|digest| digest.to_string())
    }

    /// The file's state.
    async fn status(&self) -> UploadFileStatus {
        self.file.status.into()
    }

    /// The metadata that the client declared.
    #[graphql(complexity = 20)]
    async fn metadata(&self) -> Result<JsonObject, ApiError> {
        let json = self.file.metadata.as_json();
        self.budget.text(json.get()).await?;
        Ok(JsonObject(json.to_owned()))
    }

    /// When the server deletes the stored file. Null if it keeps the file until you delete it. While the file is uploading,
    /// this is the time that the client has chosen.
    async fn retain_until(&self) -> Option<DateTime> {
        self.file.retain_until.map(DateTime)
    }

    /// When its session was created.
    async fn created_at(&self) -> DateTime {
        DateTime(self.file.created_at)
    }

    /// When this record last changed.
    async fn updated_at(&self) -> DateTime {
        DateTime(self.file.updated_at)
    }
}

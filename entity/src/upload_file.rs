//! The table `upload_file`: a file's metadata, during the upload and after it.

use sea_orm::entity::prelude::*;

/// Prefix of a file's column names in a join with its session. No other column name contains a dot.
pub const JOINED: &str = "file.";

/// One row of `upload_file`.
///
/// sqlx reads the row from a join with its session, in which each column name begins with [`JOINED`].
#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel, sqlx::FromRow)]
#[sea_orm(table_name = "upload_file")]
pub struct Model {
    /// UUID version 7.
    #[sea_orm(primary_key, auto_increment = false)]
    #[sqlx(rename = "file.id")]
    pub id: Uuid,
    /// The owner of the file.
    #[sqlx(rename = "file.owner")]
    pub owner: String,
    /// The file's name on the client.
    #[sqlx(rename = "file.original_filename")]
    pub original_filename: String,
    /// Media type.
    #[sqlx(rename = "file.content_type")]
    pub content_type: String,
    /// Size of the whole file, in bytes.
    #[sqlx(rename = "file.size_bytes")]
    pub size_bytes: i64,
    /// SHA-256 of the whole file, 32 bytes. NULL until the server has computed it.
    #[sqlx(rename = "file.sha256")]
    pub sha256: Option<Vec<u8>>,
    /// CRC-64/NVME of the whole file, 8 bytes, big-endian. NULL until the session is finalized, or if a part has none and no client
    /// has asked.
    #[sqlx(rename = "file.crc64nvme")]
    pub crc64nvme: Option<Vec<u8>>,
    /// SHA-256 of the concatenated SHA-256 of the parts, 32 bytes. NULL until the session is finalized.
    #[sqlx(rename = "file.composite_sha256")]
    pub composite_sha256: Option<Vec<u8>>,
    /// The client's metadata: a JSON object, stored as text. A JSON column would reformat numbers and reject some strings.
    #[sqlx(rename = "file.metadata")]
    pub metadata: String,
    /// The metadata as a tus client sent it. NULL if no tus client created the file.
    #[sqlx(rename = "file.upload_metadata")]
    pub upload_metadata: Option<String>,
    /// `UPLOADING`, `STORED`, `FAILED` or `DELETED`.
    #[sqlx(rename = "file.status")]
    pub status: String,
    /// Location in the storage. NULL unless the file is stored.
    #[sqlx(rename = "file.location")]
    pub location: Option<String>,
    /// When the server deletes the stored file. NULL if never, or if the file is not stored yet and the client has chosen no time.
    #[sqlx(rename = "file.retain_until")]
    pub retain_until: Option<DateTimeUtc>,
    /// UTC, microseconds.
    #[sqlx(rename = "file.created_at")]
    pub created_at: DateTimeUtc,
    /// UTC, microseconds.
    #[sqlx(rename = "file.updated_at")]
    pub updated_at: DateTimeUtc,
    /// The session that uploaded the file.
    #[sea_orm(has_one)]
    #[sqlx(skip)]
    pub session: HasOne<super::upload_session::Entity>,
}

impl ActiveModelBehavior for ActiveModel {}

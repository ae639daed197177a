//! An upload session: its state, and the received parts as one compressed set.

use sea_orm::entity::prelude::*;

/// One row of `upload_session`.
#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "upload_session", model_attrs(derive(sqlx::FromRow)))]
pub struct Model {
    /// UUID version 7; sorts by creation.
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: Uuid,
    /// The file it is for.
    #[sea_orm(unique)]
    pub file_id: Uuid,
    /// Whose it is. Kept here too, so that a status read needs no other table.
    pub owner: String,
    /// The file's name in Unicode normal form C, so that a list by name and size needs no other table.
    pub filename_key: String,
    /// `INIT`, `IN_PROGRESS`, `COMPLETE`, `FAILED` or `ABORTED`.
    pub status: String,
    /// Why it ended without a file.
    pub status_reason: Option<String>,
    /// Size of every part but the last.
    pub chunk_size_bytes: i64,
    /// Size of the whole file.
    pub total_size_bytes: i64,
    /// Parts in the whole file.
    pub total_parts: i64,
    /// Parts in `received_parts`, for people who read the table.
    pub completed_parts: i64,
    /// Bytes in those parts.
    pub bytes_received: i64,
    /// The received part numbers as a Roaring bitmap, portable format.
    pub received_parts: Vec<u8>,
    /// Grows by one with every change.
    pub version: i64,
    /// The client's name for the creating request; unique per owner, NULL where none was given.
    pub idempotency_key: Option<String>,
    /// SHA-256 that the client declared at creation, 32 bytes.
    pub declared_sha256: Option<Vec<u8>>,
    /// The object store's id of the upload, from the first part on.
    pub storage_upload_id: Option<String>,
    /// True once the bytes of a session that ended without a file are gone. False until then, so that a server that
    /// died in between finds what is left to free.
    pub bytes_freed: bool,
    /// Until when one server's sweep has claimed to free the bytes.
    pub freeing_until: Option<DateTimeUtc>,
    /// When an open session will be aborted.
    pub expires_at: DateTimeUtc,
    /// UTC, microseconds.
    pub created_at: DateTimeUtc,
    /// UTC, microseconds.
    pub updated_at: DateTimeUtc,
    /// The file it is for.
    #[sea_orm(belongs_to, from = "file_id", to = "id")]
    pub file: BelongsTo<super::upload_file::Entity>,
    /// Its parts in detail.
    #[sea_orm(has_many)]
    pub parts: HasMany<super::upload_part::Entity>,
}

impl ActiveModelBehavior for ActiveModel {}

//! The table `upload_part`: one row per recorded part, with the details that the session's received set does not contain.

use sea_orm::entity::prelude::*;

/// One row of `upload_part`.
#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "upload_part")]
pub struct Model {
    /// The session of the part.
    #[sea_orm(primary_key, auto_increment = false)]
    pub session_id: Uuid,
    /// Counted from 1.
    #[sea_orm(primary_key, auto_increment = false)]
    pub part_number: i64,
    /// Size of the part, in bytes.
    pub size_bytes: i64,
    /// SHA-256 of the part's bytes, 32 bytes.
    pub sha256: Vec<u8>,
    /// CRC-64/NVME of the part's bytes, 8 bytes, big-endian. NULL if an earlier version received the part.
    pub crc64nvme: Option<Vec<u8>>,
    /// The object store's etag of the part, which the server needs to complete the upload. NULL on the local disk.
    pub storage_etag: Option<String>,
    /// UTC, microseconds.
    pub received_at: DateTimeUtc,
    /// The session of the part.
    #[sea_orm(belongs_to, from = "session_id", to = "id")]
    pub session: BelongsTo<super::upload_session::Entity>,
}

impl ActiveModelBehavior for ActiveModel {}

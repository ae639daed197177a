//! A part that has arrived: the detail behind the session's received set.

use sea_orm::entity::prelude::*;

/// One row of `upload_part`.
#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "upload_part")]
pub struct Model {
    /// The session it belongs to.
    #[sea_orm(primary_key, auto_increment = false)]
    pub session_id: Uuid,
    /// Counted from 1.
    #[sea_orm(primary_key, auto_increment = false)]
    pub part_number: i64,
    /// Its length.
    pub size_bytes: i64,
    /// SHA-256 of its bytes, 32 bytes.
    pub sha256: Vec<u8>,
    /// What the object store answered when it took the part; needed to complete the upload there.
    pub storage_etag: Option<String>,
    /// UTC, microseconds.
    pub received_at: DateTimeUtc,
    /// The session it belongs to.
    #[sea_orm(belongs_to, from = "session_id", to = "id")]
    pub session: BelongsTo<super::upload_session::Entity>,
}

impl ActiveModelBehavior for ActiveModel {}

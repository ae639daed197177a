//! A file: what is known of it, during the upload and after.

use sea_orm::entity::prelude::*;

/// One row of `upload_file`.
#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "upload_file")]
pub struct Model {
    /// UUID version 7.
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: Uuid,
    /// Whose it is.
    pub owner: String,
    /// The name on the sender's side.
    pub original_filename: String,
    /// Media type.
    pub content_type: String,
    /// Size of the whole file.
    pub size_bytes: i64,
    /// SHA-256 of the whole file, 32 bytes; NULL until finalized.
    pub sha256: Option<Vec<u8>>,
    /// SHA-256 over the parts' SHA-256, 32 bytes; NULL until finalized.
    pub composite_sha256: Option<Vec<u8>>,
    /// What the sender attached: a JSON object, as text. A JSON type would write numbers anew and refuse some strings.
    pub metadata: String,
    /// `UPLOADING`, `STORED` or `FAILED`.
    pub status: String,
    /// Where storage keeps it; NULL until stored.
    pub location: Option<String>,
    /// UTC, microseconds.
    pub created_at: DateTimeUtc,
    /// UTC, microseconds.
    pub updated_at: DateTimeUtc,
    /// The session that the file came by.
    #[sea_orm(has_one)]
    pub session: HasOne<super::upload_session::Entity>,
}

impl ActiveModelBehavior for ActiveModel {}

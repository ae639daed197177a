//! The table `download_link`: tokens in links to the content of one file, stored as hashes.

use sea_orm::entity::prelude::*;

/// One row of `download_link`.
#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "download_link")]
pub struct Model {
    /// UUID version 7.
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: Uuid,
    /// SHA-256 of the token, 32 bytes. The token has 256 random bits, so the hash needs no salt.
    #[sea_orm(unique)]
    pub token_hash: Vec<u8>,
    /// The file that the link opens.
    pub file_id: Uuid,
    /// UTC, microseconds.
    pub created_at: DateTimeUtc,
    /// When the link expires. The sweep then removes the row.
    pub expires_at: DateTimeUtc,
}

impl ActiveModelBehavior for ActiveModel {}

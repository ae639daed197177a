//! The table `upload_token`: tokens that open one session only, stored as hashes.

use sea_orm::entity::prelude::*;

/// One row of `upload_token`.
#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "upload_token")]
pub struct Model {
    /// UUID version 7.
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: Uuid,
    /// SHA-256 of the token, 32 bytes. The token has 256 random bits, so the hash needs no salt.
    #[sea_orm(unique)]
    pub token_hash: Vec<u8>,
    /// The session that the token opens.
    pub session_id: Uuid,
    /// UTC, microseconds.
    pub created_at: DateTimeUtc,
    /// When the token expires. NULL if it expires with its session (`upload_session.expires_at`).
    pub expires_at: Option<DateTimeUtc>,
    /// When the sweep looks whether the token has expired, and removes it.
    pub check_at: DateTimeUtc,
}

impl ActiveModelBehavior for ActiveModel {}

//! A bearer token, kept only as its hash.

use sea_orm::entity::prelude::*;

/// One row of `api_token`.
#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "api_token")]
pub struct Model {
    /// UUID version 7.
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: Uuid,
    /// Whose sessions it opens.
    pub owner: String,
    /// What it is for, in its maker's words.
    pub name: String,
    /// SHA-256 of the token, 32 bytes. The token has 256 random bits, so the hash needs no salt.
    #[sea_orm(unique)]
    pub token_hash: Vec<u8>,
    /// UTC, microseconds.
    pub created_at: DateTimeUtc,
    /// When it stops working; NULL for never.
    pub expires_at: Option<DateTimeUtc>,
    /// When it was last used, to within a sweep interval.
    pub last_used_at: Option<DateTimeUtc>,
    /// When it was revoked; NULL while it works.
    pub revoked_at: Option<DateTimeUtc>,
}

impl ActiveModelBehavior for ActiveModel {}

//! The table `api_token`: bearer tokens, stored only as hashes.

use sea_orm::entity::prelude::*;

/// One row of `api_token`.
#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "api_token")]
pub struct Model {
    /// UUID version 7.
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: Uuid,
    /// The owner as whom a request with this token acts.
    pub owner: String,
    /// A description of the token's purpose, for people.
    pub name: String,
    /// SHA-256 of the token, 32 bytes. The token has 256 random bits, so the hash needs no salt.
    #[sea_orm(unique)]
    pub token_hash: Vec<u8>,
    /// UTC, microseconds.
    pub created_at: DateTimeUtc,
    /// When the token expires. NULL if it never does.
    pub expires_at: Option<DateTimeUtc>,
    /// When a request last used the token. The sweep writes it, so it can lag by one `sweep_interval`.
    pub last_used_at: Option<DateTimeUtc>,
    /// When the token was revoked. NULL if it was not.
    pub revoked_at: Option<DateTimeUtc>,
}

impl ActiveModelBehavior for ActiveModel {}

//! The table `webhook`: the endpoints to which the server sends events.

use sea_orm::entity::prelude::*;

/// One row of `webhook`.
#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "webhook")]
pub struct Model {
    /// UUID version 7.
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: Uuid,
    /// Where the server sends the events.
    pub url: String,
    /// The types of the events, separated by spaces. Empty if all.
    pub event_types: String,
    /// The owner whose events the server sends. NULL if those of all owners.
    pub owner: Option<String>,
    /// The secret that signs each request, as `whsec_` and base64. Not a hash: the server needs it to sign.
    pub secret: String,
    /// The secret before the last rotation, which also signs until `previous_until`.
    pub previous_secret: Option<String>,
    /// Until when the previous secret signs. UTC, microseconds.
    pub previous_until: Option<DateTimeUtc>,
    /// When the endpoint answered 410, after which the server sends nothing. NULL if it did not.
    pub disabled_at: Option<DateTimeUtc>,
    /// UTC, microseconds.
    pub created_at: DateTimeUtc,
}

impl ActiveModelBehavior for ActiveModel {}

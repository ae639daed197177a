//! The table `webhook_delivery`: the state of sending each event to each webhook.

use sea_orm::entity::prelude::*;

/// One row of `webhook_delivery`. The transaction that assigns the event's position inserts it.
#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "webhook_delivery")]
pub struct Model {
    /// The event.
    #[sea_orm(primary_key, auto_increment = false)]
    pub event_id: Uuid,
    /// The webhook.
    #[sea_orm(primary_key, auto_increment = false)]
    pub webhook_id: Uuid,
    /// `PENDING`, `DELIVERED` or `DEAD`.
    pub state: String,
    /// The number of attempts so far.
    pub attempts: i32,
    /// When the next attempt is due.
    pub next_attempt_at: DateTimeUtc,
    /// When the lease of the node that sends it expires. NULL if no node does.
    pub leased_until: Option<DateTimeUtc>,
    /// HTTP status of the last attempt. NULL if there was none.
    pub last_status: Option<i32>,
    /// Why the last attempt failed. NULL if it did not.
    pub last_error: Option<String>,
    /// UTC, microseconds.
    pub created_at: DateTimeUtc,
    /// UTC, microseconds.
    pub updated_at: DateTimeUtc,
}

impl ActiveModelBehavior for ActiveModel {}

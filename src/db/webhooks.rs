//! Webhooks, and what must be sent to them.
//!
//! Owns the rows of webhooks and of deliveries. The transaction that assigns an event's position also inserts one delivery for
//! each enabled webhook that wants the event. Does not send anything: that is `service/deliver`.

use entity::{event, webhook, webhook_delivery};
use sea_orm::{
    ActiveValue::{NotSet, Set},
    ColumnTrait, EntityTrait, QueryFilter,
};
use uuid::Uuid;

use super::{Result, Transaction};
use crate::domain::Timestamp;

/// The largest number of rows in one insert. A row has 9 values, and a statement may have 32,766 on SQLite.
const MAX_ROWS: usize = 1_000;

/// Inserts a delivery of each of these events to each enabled webhook that wants it.
pub(super) async fn enqueue(tx: &Transaction, events: &[event::Model], now: Timestamp) -> Result<()> {
    let enabled = webhook::Entity::find().filter(webhook::COLUMN.disabled_at.is_null()).all(tx).await?;
    let wanted = |event: &event::Model, webhook: &webhook::Model| {
        webhook.owner.as_ref().is_none_or(|owner| *owner == event.owner)
            && (webhook.event_types.is_empty() || webhook.event_types.split(' ').any(|name| name == event.event_type))
    };
    let rows: Vec<_> = events
        .iter()
        .flat_map(|event| {
            enabled.iter().filter(|webhook| wanted(event, webhook)).map(|webhook| new(event, webhook, now))
        })
        .collect();
    for rows in rows.chunks(MAX_ROWS) {
        webhook_delivery::Entity::insert_many(rows.to_vec()).exec_without_returning(tx).await?;
    }
    Ok(())
}

fn new(event: &event::Model, webhook: &webhook::Model, now: Timestamp) -> webhook_delivery::ActiveModel {
    webhook_delivery::ActiveModel {
        event_id: Set(event.id),
        webhook_id: Set(webhook.id),
        state: Set("PENDING".to_owned()),
        attempts: Set(0),
        next_attempt_at: Set(now),
        leased_until: NotSet,
        last_status: NotSet,
        last_error: NotSet,
        created_at: Set(now),
        updated_at: Set(now),
    }
}

/// Removes the deliveries of these events.
pub(super) async fn drop_deliveries(tx: &Transaction, events: &[Uuid]) -> Result<()> {
    let of_events = webhook_delivery::Column::EventId.is_in(events.iter().copied());
    webhook_delivery::Entity::delete_many().filter(of_events).exec(tx).await?;
    Ok(())
}

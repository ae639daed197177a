//! Deliveries for operators: how many are pending and dead, which are dead, and sending them again.
//!
//! Owns the statements behind the metrics and the commands of `partway webhook`. Does not own the states that sending
//! causes: those are in `deliveries`.

use std::collections::HashMap;

use entity::{event, webhook_delivery};
use sea_orm::{
    ActiveValue::Set,
    ColumnTrait, Condition, EntityTrait, QueryFilter, QueryOrder, QuerySelect,
    sea_query::{Expr, ExprTrait, OnConflict},
};
use uuid::Uuid;

use super::{
    Db, Result,
    deliveries::{IS_DEAD, IS_PENDING, new_rows},
    error::{retry_transaction, retry_transient},
    webhooks,
};
use crate::domain::{DeliveryState, EventId, Timestamp, WebhookId};

/// The largest number of events that are recorded again in one transaction.
const BATCH: u64 = 200;

/// How many deliveries to a webhook wait, and how many are dead.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DeliveryCounts {
    /// Deliveries that are not delivered yet.
    pub pending: u64,
    /// Since when the oldest of them waits.
    pub oldest_pending: Option<Timestamp>,
    /// Deliveries that the server has given up.
    pub dead: u64,
}

/// A delivery that the server has given up.
#[derive(Clone, Debug)]
pub struct DeadDelivery {
    /// The webhook.
    pub webhook: WebhookId,
    /// The event.
    pub event: EventId,
    /// The event's type.
    pub event_type: String,
    /// The number of attempts.
    pub attempts: u32,
    /// The HTTP status of the last attempt that had an answer.
    pub last_status: Option<u16>,
    /// Why the last attempt failed.
    pub last_error: Option<String>,
}

impl Db {
    /// The deliveries of each webhook that has pending or dead ones.
    pub async fn delivery_counts(&self) -> Result<HashMap<WebhookId, DeliveryCounts>> {
        let mut counts: HashMap<WebhookId, DeliveryCounts> = HashMap::new();
        for condition in [IS_PENDING, IS_DEAD] {
            let counted = webhook_delivery::Entity::find()
                .filter(Expr::cust(condition))
                .group_by(webhook_delivery::Column::WebhookId)
                .select_only()
                .column(webhook_delivery::Column::WebhookId)
                .expr(Expr::col(webhook_delivery::Column::EventId).count())
                .expr(Expr::col(webhook_delivery::Column::CreatedAt).min());
            let found: Vec<(Uuid, i64, Option<Timestamp>)> =
                retry_transient(|| counted.clone().into_tuple().all(&self.read)).await?;
            for (id, count, oldest) in found {
                let of_webhook = counts.entry(WebhookId(id)).or_default();
                match condition {
                    IS_PENDING => (of_webhook.pending, of_webhook.oldest_pending) = (count.unsigned_abs(), oldest),
                    _ => of_webhook.dead = count.unsigned_abs(),
                }
            }
        }
        Ok(counts)
    }

    /// Dead deliveries, in the order of webhooks and then of events, after this one: at most `limit`.
    pub async fn dead_deliveries(&self, after: Option<(WebhookId, EventId)>, limit: u64) -> Result<Vec<DeadDelivery>> {
        let mut dead = webhook_delivery::Entity::find()
            .filter(Expr::cust(IS_DEAD))
            .order_by_asc(webhook_delivery::Column::WebhookId)
            .order_by_asc(webhook_delivery::Column::EventId)
            .limit(limit);
        if let Some((webhook, event)) = after {
            let same_webhook = Condition::all()
                .add(webhook_delivery::COLUMN.webhook_id.eq(webhook.0))
                .add(webhook_delivery::COLUMN.event_id.gt(event.0));
            let later = Condition::any().add(webhook_delivery::COLUMN.webhook_id.gt(webhook.0)).add(same_webhook);
            dead = dead.filter(later);
        }
        let found = retry_transient(|| dead.clone().all(&self.read)).await?;
        let types = event::Entity::find()
            .filter(event::Column::Id.is_in(found.iter().map(|row| row.event_id)))
            .select_only()
            .columns([event::Column::Id, event::Column::EventType]);
        let types: Vec<(Uuid, String)> = retry_transient(|| types.clone().into_tuple().all(&self.read)).await?;
        let types: HashMap<Uuid, String> = types.into_iter().collect();
        let dead = |row: webhook_delivery::Model| DeadDelivery {
            webhook: WebhookId(row.webhook_id),
            event: EventId(row.event_id),
            event_type: types.get(&row.event_id).cloned().unwrap_or_default(),
            attempts: row.attempts.unsigned_abs(),
            last_status: row.last_status.and_then(|status| status.try_into().ok()),
            last_error: row.last_error,
        };
        Ok(found.into_iter().map(dead).collect())
    }

    /// Makes the dead deliveries of enabled webhooks pending again, or only those of this webhook. Returns their number.
    pub async fn replay_dead(&self, webhook: Option<WebhookId>, now: Timestamp) -> Result<u64> {
        let mut webhooks = self.enabled_webhooks().await?;
        webhooks.retain(|id| webhook.is_none_or(|wanted| wanted == *id));
        let mut replayed = 0;
        for webhook in webhooks {
            let again = webhook_delivery::ActiveModel {
                state: Set(DeliveryState::Pending.as_str().to_owned()),
                attempts: Set(0),
                next_attempt_at: Set(now),
                leased_until: Set(None),
                created_at: Set(now),
                updated_at: Set(now),
                ..Default::default()
            };
            replayed += self.change_in_batches(webhook, IS_DEAD, again).await?;
        }
        Ok(replayed)
    }

    /// Records that the server must send an event to every enabled webhook that wants it, or only to this one. Returns
    /// the number of deliveries; `None` if there is no such event.
    pub async fn replay_event(&self, id: EventId, webhook: Option<WebhookId>, now: Timestamp) -> Result<Option<u64>> {
        let found = retry_transient(|| event::Entity::find_by_id(id.0).all(&self.read)).await?;
        if found.is_empty() {
            return Ok(None);
        }
        retry_transaction(|| self.try_replay(&found, webhook, now)).await.map(Some)
    }

    /// The same for all events since this moment.
    pub async fn replay_since(&self, since: Timestamp, webhook: Option<WebhookId>, now: Timestamp) -> Result<u64> {
        let mut replayed = 0;
        let mut after = (since, Uuid::nil());
        loop {
            let same_time =
                Condition::all().add(event::COLUMN.created_at.eq(after.0)).add(event::COLUMN.id.gt(after.1));
            // An event without a position gets its deliveries with the position.
            let page = event::Entity::find()
                .filter(event::COLUMN.position.is_not_null())
                .filter(event::COLUMN.created_at.gte(after.0))
                .filter(Condition::any().add(event::COLUMN.created_at.gt(after.0)).add(same_time))
                .order_by_asc(event::Column::CreatedAt)
                .order_by_asc(event::Column::Id)
                .limit(BATCH);
            let found = retry_transient(|| page.clone().all(&self.read)).await?;
            let Some(last) = found.last() else { return Ok(replayed) };
            after = (last.created_at, last.id);
            replayed += retry_transaction(|| self.try_replay(&found, webhook, now)).await?;
        }
    }

    async fn try_replay(&self, events: &[event::Model], webhook: Option<WebhookId>, now: Timestamp) -> Result<u64> {
        use webhook_delivery::Column;
        let tx = self.begin(None).await?;
        let mut webhooks = webhooks::enabled_locked(&tx).await?;
        webhooks.retain(|found| webhook.is_none_or(|wanted| wanted.0 == found.id));
        // An attempt that is running keeps its lease.
        let again = OnConflict::columns([Column::EventId, Column::WebhookId])
            .update_columns([
                Column::State,
                Column::Attempts,
                Column::NextAttemptAt,
                Column::CreatedAt,
                Column::UpdatedAt,
            ])
            .to_owned();
        let rows = new_rows(events, &webhooks, now);
        for rows in rows.chunks(usize::try_from(BATCH).unwrap_or(1)) {
            let insert = webhook_delivery::Entity::insert_many(rows.to_vec()).on_conflict(again.clone());
            insert.exec_without_returning(&tx).await?;
        }
        tx.commit().await?;
        Ok(rows.len() as u64)
    }
}

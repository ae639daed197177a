//! Webhooks: who wants to hear of events.
//!
//! Owns the rows of webhooks. Does not own what must be sent to them: that is `deliveries`.

use entity::{event, webhook, webhook_delivery};
use sea_orm::{
    ActiveValue::{NotSet, Set},
    ColumnTrait, EntityTrait, QueryFilter, QueryOrder, QuerySelect, QueryTrait,
    sea_query::{Expr, LockType},
};
use uuid::Uuid;

use super::{
    CorruptRow, Db, Result, Transaction, at_most_one,
    error::{retry_transaction, retry_transient},
};
use crate::domain::{EventType, OwnerName, Timestamp, Webhook, WebhookId, WebhookSecret};

/// The largest number of deliveries that are removed in one statement.
const BATCH: u64 = 5_000;

impl Db {
    /// Stores a webhook.
    pub async fn create_webhook(&self, webhook: &Webhook) -> Result<()> {
        webhook::Entity::insert(row(webhook)).exec_without_returning(&self.write).await?;
        Ok(())
    }

    /// The webhook with this id.
    pub async fn webhook(&self, id: WebhookId) -> Result<Option<Webhook>> {
        let found = retry_transient(|| at_most_one(webhook::Entity::find_by_id(id.0), &self.read)).await?;
        Ok(found.map(read).transpose()?)
    }

    /// All webhooks, the oldest first. Logs an invalid row and leaves it out.
    pub async fn webhooks(&self) -> Result<Vec<Webhook>> {
        let all = webhook::Entity::find().order_by_asc(webhook::COLUMN.id);
        let readable = |row: webhook::Model| {
            read(row).inspect_err(|error| tracing::error!(%error, "the row of a webhook is invalid")).ok()
        };
        let found = retry_transient(|| all.clone().all(&self.read)).await?;
        Ok(found.into_iter().filter_map(readable).collect())
    }

    /// The ids of the enabled webhooks, the oldest first.
    pub async fn enabled_webhooks(&self) -> Result<Vec<WebhookId>> {
        let enabled = webhook::Entity::find().filter(webhook::COLUMN.disabled_at.is_null());
        let ids = enabled.select_only().column(webhook::Column::Id).order_by_asc(webhook::COLUMN.id);
        let found: Vec<Uuid> = retry_transient(|| ids.clone().into_tuple().all(&self.read)).await?;
        Ok(found.into_iter().map(WebhookId).collect())
    }

    /// Makes `secret` the webhook's secret. Its secret until now also signs until `previous_until`. False if there is no
    /// such webhook.
    pub async fn rotate_webhook(
        &self,
        id: WebhookId,
        secret: &WebhookSecret,
        previous_until: Timestamp,
    ) -> Result<bool> {
        // Not repeated after an unknown result, which would replace the previous secret too.
        let rotated = webhook::Entity::update_many()
            .col_expr(webhook::Column::PreviousSecret, Expr::col(webhook::Column::Secret))
            .col_expr(webhook::Column::PreviousUntil, Expr::value(previous_until))
            .col_expr(webhook::Column::Secret, Expr::value(secret.reveal()))
            .filter(webhook::COLUMN.id.eq(id.0))
            .exec(&self.write)
            .await?;
        Ok(rotated.rows_affected > 0)
    }

    /// Enables a disabled webhook. What was not sent before stays dead.
    pub async fn enable_webhook(&self, id: WebhookId) -> Result<()> {
        let enabled = webhook::Entity::update_many()
            .set(webhook::ActiveModel { disabled_at: Set(None), ..Default::default() })
            .filter(webhook::COLUMN.id.eq(id.0));
        retry_transient(|| enabled.clone().exec(&self.write)).await?;
        Ok(())
    }

    /// Removes a webhook and its deliveries. False if there is no such webhook. Disables it first: so nothing is sent
    /// any more, and no delivery to it is inserted, while its deliveries are removed in batches.
    pub async fn remove_webhook(&self, id: WebhookId, now: Timestamp) -> Result<bool> {
        let disabled = webhook::Entity::update_many()
            .set(webhook::ActiveModel { disabled_at: Set(Some(now)), ..Default::default() })
            .filter(webhook::COLUMN.id.eq(id.0));
        if retry_transaction(async || Ok(disabled.clone().exec(&self.write).await?)).await?.rows_affected == 0 {
            return Ok(false);
        }
        let of_webhook = webhook_delivery::COLUMN.webhook_id.eq(id.0);
        let batch = webhook_delivery::Entity::find().filter(of_webhook).limit(BATCH);
        let batch = batch.select_only().column(webhook_delivery::Column::EventId).into_query();
        let of_webhook = webhook_delivery::COLUMN.webhook_id.eq(id.0);
        let delete = webhook_delivery::Entity::delete_many()
            .filter(of_webhook)
            .filter(webhook_delivery::Column::EventId.in_subquery(batch));
        while retry_transaction(async || Ok(delete.clone().exec(&self.write).await?)).await?.rows_affected > 0 {}
        let remove = webhook::Entity::delete_by_id(id.0);
        retry_transaction(async || Ok(remove.clone().exec(&self.write).await?)).await?;
        Ok(true)
    }
}

/// The enabled webhooks, locked so that none of them is disabled or removed before the end of the transaction.
pub(super) async fn enabled_locked(tx: &Transaction) -> Result<Vec<webhook::Model>> {
    let enabled = webhook::Entity::find().filter(webhook::COLUMN.disabled_at.is_null());
    Ok(enabled.order_by_asc(webhook::COLUMN.id).lock(LockType::Share).all(tx).await?)
}

/// Whether the server must send this event to this webhook.
pub(super) fn wants(webhook: &webhook::Model, event: &event::Model) -> bool {
    webhook.owner.as_ref().is_none_or(|owner| *owner == event.owner)
        && (webhook.event_types.is_empty() || webhook.event_types.split(' ').any(|name| name == event.event_type))
}

fn row(webhook: &Webhook) -> webhook::ActiveModel {
    let types: Vec<&str> = webhook.event_types.iter().map(|event_type| event_type.as_str()).collect();
    webhook::ActiveModel {
        id: Set(webhook.id.0),
        url: Set(webhook.url.clone()),
        event_types: Set(types.join(" ")),
        owner: Set(webhook.owner.as_ref().map(OwnerName::to_string)),
        secret: Set(webhook.secret.reveal()),
        previous_secret: NotSet,
        previous_until: NotSet,
        disabled_at: NotSet,
        created_at: Set(webhook.created_at),
    }
}

fn read(row: webhook::Model) -> Result<Webhook, CorruptRow> {
    let invalid = |column| CorruptRow::new("webhook", row.id, column);
    let secret = |column, text: &str| text.parse().map_err(|_| invalid(column));
    let types = row.event_types.split(' ').filter(|name| !name.is_empty());
    let previous = row.previous_secret.as_deref().zip(row.previous_until);
    Ok(Webhook {
        id: WebhookId(row.id),
        event_types: types
            .map(|name| EventType::parse(name).ok_or_else(|| invalid("event_types")))
            .collect::<Result<_, _>>()?,
        owner: row.owner.as_deref().map(|name| OwnerName::parse(name).ok_or_else(|| invalid("owner"))).transpose()?,
        secret: secret("secret", &row.secret)?,
        previous: previous.map(|(text, until)| Ok((secret("previous_secret", text)?, until))).transpose()?,
        disabled_at: row.disabled_at,
        created_at: row.created_at,
        url: row.url,
    })
}

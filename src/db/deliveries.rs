//! Deliveries: the state of sending each event to each webhook.
//!
//! Owns the rows of deliveries. The transaction that assigns an event's position also inserts one delivery for each
//! enabled webhook that wants the event. A node takes a lease on a due delivery by a conditional update, for longer than
//! an attempt takes, and changes the state only after the attempt. So if the node dies, another one sends the event
//! after the lease. Does not send anything: that is `service/deliver`.

use entity::{event, webhook, webhook_delivery};
use sea_orm::{
    ActiveValue::{NotSet, Set},
    ColumnTrait, Condition, EntityTrait, QueryFilter, QueryOrder, QuerySelect, QueryTrait, Select,
    sea_query::{Expr, ExprTrait, OnConflict, SelectStatement},
};
use uuid::Uuid;

use super::{
    Db, Result, Transaction,
    error::{retry_transaction, retry_transient},
    rows, webhooks,
};
use crate::domain::{DeliveryState, Event, EventId, Timestamp, WebhookId};

// The conditions of the partial indexes, with the same text; see `sweep`.
pub(super) const IS_PENDING: &str = "state = 'PENDING'";
pub(super) const IS_DEAD: &str = "state = 'DEAD'";

/// The largest number of rows in one insert. A row has 10 values, and a statement may have 32,766 on SQLite.
const MAX_ROWS: usize = 1_000;
/// The largest number of rows that one statement changes.
const MAX_CHANGED: u64 = 5_000;
/// The error of deliveries that were pending when their webhook was disabled.
const DISABLED: &str = "the webhook is disabled";

/// A delivery on which this node has a lease.
#[derive(Clone, Debug)]
pub struct LeasedDelivery {
    /// The webhook.
    pub webhook: WebhookId,
    /// The event's id.
    pub event_id: EventId,
    /// The event. `None` if its row is invalid.
    pub event: Option<Event>,
    /// The number of attempts so far.
    pub attempts: u32,
    /// When the lease expires. Only this lease has this time and this number of attempts.
    until: Timestamp,
}

/// The result of an attempt.
#[derive(Clone, Debug)]
pub struct Attempt {
    /// The state after it.
    pub state: DeliveryState,
    /// When the next attempt is due, if there is one.
    pub next_attempt_at: Option<Timestamp>,
    /// The HTTP status of the answer, if there was one.
    pub status: Option<u16>,
    /// Why it failed, if it did.
    pub error: Option<String>,
}

impl Db {
    /// Whether a delivery to this webhook is due.
    pub async fn has_due_delivery(&self, webhook: WebhookId, now: Timestamp) -> Result<bool> {
        let first = due(webhook, now).limit(1);
        Ok(!retry_transient(|| first.clone().all(&self.read)).await?.is_empty())
    }

    /// Takes leases on at most `limit` due deliveries to this webhook, until the moment `until`.
    pub async fn lease_deliveries(
        &self,
        webhook: WebhookId,
        now: Timestamp,
        until: Timestamp,
        limit: u64,
    ) -> Result<Vec<LeasedDelivery>> {
        let ids = due(webhook, now).limit(limit).select_only().column(webhook_delivery::Column::EventId);
        let ids: Vec<Uuid> = retry_transient(|| ids.clone().into_tuple().all(&self.read)).await?;
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        let lease = webhook_delivery::Entity::update_many()
            .set(webhook_delivery::ActiveModel { leased_until: Set(Some(until)), ..Default::default() })
            .filter(webhook_delivery::Column::EventId.is_in(ids))
            .filter(is_due(webhook, now));
        // Another node may have taken some of them, or the webhook was disabled.
        let leased = retry_transaction(async || Ok(lease.clone().exec_with_returning(&self.write).await?)).await?;
        let ids = leased.iter().map(|row| row.event_id);
        let events = event::Entity::find().filter(event::Column::Id.is_in(ids));
        let events = retry_transient(|| events.clone().all(&self.read)).await?;
        let event = |id| {
            let row = events.iter().find(|event| event.id == id)?;
            let problem = |error: &_| tracing::error!(%error, "the row of an event is invalid");
            rows::event(row.clone()).inspect_err(problem).ok()
        };
        let lease = |row: webhook_delivery::Model| LeasedDelivery {
            webhook,
            event_id: EventId(row.event_id),
            event: event(row.event_id),
            attempts: row.attempts.unsigned_abs(),
            until,
        };
        Ok(leased.into_iter().map(lease).collect())
    }

    /// Records an attempt, and ends the lease. A failure is not recorded if the lease has expired and another node has
    /// taken one: then that node's attempt counts.
    pub async fn record_attempt(&self, leased: &LeasedDelivery, attempt: &Attempt, now: Timestamp) -> Result<()> {
        let mut recorded = update(leased, attempt, now);
        if attempt.state != DeliveryState::Delivered {
            recorded = recorded.filter(is_leased(leased));
        }
        retry_transaction(async || Ok(recorded.clone().exec(&self.write).await?)).await?;
        Ok(())
    }

    /// Records that the receiver wants no more events, and disables the webhook. What is pending is not sent any more;
    /// [`bury_deliveries`](Self::bury_deliveries) makes it dead.
    pub async fn record_gone(&self, leased: &LeasedDelivery, attempt: &Attempt, now: Timestamp) -> Result<()> {
        retry_transaction(|| self.try_record_gone(leased, attempt, now)).await
    }

    async fn try_record_gone(&self, leased: &LeasedDelivery, attempt: &Attempt, now: Timestamp) -> Result<()> {
        let tx = self.begin(None).await?;
        webhook::Entity::update_many()
            .set(webhook::ActiveModel { disabled_at: Set(Some(now)), ..Default::default() })
            .filter(webhook::COLUMN.id.eq(leased.webhook.0))
            .filter(webhook::COLUMN.disabled_at.is_null())
            .exec(&tx)
            .await?;
        update(leased, attempt, now).filter(is_leased(leased)).exec(&tx).await?;
        Ok(tx.commit().await?)
    }

    /// Makes the pending deliveries of disabled webhooks dead, in batches, so that no statement takes long.
    pub async fn bury_deliveries(&self, now: Timestamp) -> Result<()> {
        let disabled = webhook::Entity::find().filter(webhook::COLUMN.disabled_at.is_not_null());
        let disabled = disabled.select_only().column(webhook::Column::Id);
        let ids: Vec<Uuid> = retry_transient(|| disabled.clone().into_tuple().all(&self.read)).await?;
        for webhook in ids {
            let buried = webhook_delivery::ActiveModel {
                state: Set(DeliveryState::Dead.as_str().to_owned()),
                leased_until: Set(None),
                last_error: Set(Some(DISABLED.to_owned())),
                updated_at: Set(now),
                ..Default::default()
            };
            self.change_in_batches(WebhookId(webhook), IS_PENDING, buried).await?;
        }
        Ok(())
    }

    /// Changes all deliveries of a webhook for which the condition holds. After the change it must not hold. Returns
    /// their number.
    pub(super) async fn change_in_batches(
        &self,
        webhook: WebhookId,
        condition: &'static str,
        change: webhook_delivery::ActiveModel,
    ) -> Result<u64> {
        let batch = in_state(webhook, condition).limit(MAX_CHANGED);
        let batch = batch.select_only().column(webhook_delivery::Column::EventId);
        let mut changed = 0;
        loop {
            let ids: Vec<Uuid> = retry_transient(|| batch.clone().into_tuple().all(&self.read)).await?;
            if ids.is_empty() {
                return Ok(changed);
            }
            let update = webhook_delivery::Entity::update_many()
                .set(change.clone())
                .filter(webhook_delivery::Column::EventId.is_in(ids))
                .filter(is_in_state(webhook, condition));
            let done = retry_transaction(async || Ok(update.clone().exec(&self.write).await?)).await?;
            changed += done.rows_affected;
        }
    }

    /// Ends a lease without an attempt that has a result, so that any node can send the event at once.
    pub async fn release_delivery(&self, leased: &LeasedDelivery) -> Result<()> {
        let released = webhook_delivery::Entity::update_many()
            .set(webhook_delivery::ActiveModel { leased_until: Set(None), ..Default::default() })
            .filter(of(leased))
            .filter(is_leased(leased));
        retry_transaction(async || Ok(released.clone().exec(&self.write).await?)).await?;
        Ok(())
    }
}

/// The deliveries to this webhook in this state, in the order of the index that has only these: else SQLite would read the index of
/// all deliveries to the webhook.
pub(super) fn in_state(webhook: WebhookId, condition: &'static str) -> Select<webhook_delivery::Entity> {
    let order = match condition {
        IS_PENDING => webhook_delivery::Column::NextAttemptAt,
        _ => webhook_delivery::Column::EventId,
    };
    webhook_delivery::Entity::find().filter(is_in_state(webhook, condition)).order_by_asc(order)
}

fn is_in_state(webhook: WebhookId, condition: &'static str) -> Condition {
    Condition::all().add(Expr::cust(condition)).add(webhook_delivery::COLUMN.webhook_id.eq(webhook.0))
}

pub(super) fn due(webhook: WebhookId, now: Timestamp) -> Select<webhook_delivery::Entity> {
    webhook_delivery::Entity::find().filter(is_due(webhook, now)).order_by_asc(webhook_delivery::Column::NextAttemptAt)
}

fn is_due(webhook: WebhookId, now: Timestamp) -> Condition {
    let is_free = Condition::any()
        .add(webhook_delivery::COLUMN.leased_until.is_null())
        .add(webhook_delivery::COLUMN.leased_until.lte(now));
    Condition::all()
        .add(Expr::cust(IS_PENDING))
        .add(webhook_delivery::COLUMN.webhook_id.eq(webhook.0))
        .add(webhook_delivery::COLUMN.next_attempt_at.lte(now))
        .add(is_free)
}

fn of(leased: &LeasedDelivery) -> Condition {
    Condition::all()
        .add(webhook_delivery::COLUMN.event_id.eq(leased.event_id.0))
        .add(webhook_delivery::COLUMN.webhook_id.eq(leased.webhook.0))
}

/// Whether the delivery still has this lease.
fn is_leased(leased: &LeasedDelivery) -> Condition {
    Condition::all()
        .add(Expr::cust(IS_PENDING))
        .add(webhook_delivery::COLUMN.leased_until.eq(leased.until))
        .add(webhook_delivery::COLUMN.attempts.eq(leased.attempts.cast_signed()))
}

fn update(leased: &LeasedDelivery, attempt: &Attempt, now: Timestamp) -> sea_orm::UpdateMany<webhook_delivery::Entity> {
    webhook_delivery::Entity::update_many()
        .set(webhook_delivery::ActiveModel {
            state: Set(attempt.state.as_str().to_owned()),
            attempts: Set((leased.attempts + 1).cast_signed()),
            next_attempt_at: attempt.next_attempt_at.map_or(NotSet, Set),
            leased_until: Set(None),
            last_status: Set(attempt.status.map(i32::from)),
            last_error: Set(attempt.error.clone()),
            updated_at: Set(now),
            ..Default::default()
        })
        .filter(of(leased))
}

/// Inserts a delivery of each of these events to each enabled webhook that wants it.
pub(super) async fn enqueue(tx: &Transaction, events: &[event::Model], now: Timestamp) -> Result<()> {
    use webhook_delivery::Column;
    let rows = new_rows(events, &webhooks::enabled_locked(tx).await?, now);
    for rows in rows.chunks(MAX_ROWS) {
        // Nothing must stop the assignment of positions.
        let mut already_there = OnConflict::columns([Column::EventId, Column::WebhookId]);
        already_there.do_nothing();
        let insert = webhook_delivery::Entity::insert_many(rows.to_vec()).on_conflict(already_there);
        insert.exec_without_returning(tx).await?;
    }
    Ok(())
}

/// A new delivery of each of these events to each of these webhooks that wants it.
pub(super) fn new_rows(
    events: &[event::Model],
    webhooks: &[webhook::Model],
    now: Timestamp,
) -> Vec<webhook_delivery::ActiveModel> {
    let wanted = |event| webhooks.iter().filter(move |webhook| webhooks::wants(webhook, event));
    events.iter().flat_map(|event| wanted(event).map(|webhook| new(event, webhook, now))).collect()
}

fn new(event: &event::Model, webhook: &webhook::Model, now: Timestamp) -> webhook_delivery::ActiveModel {
    webhook_delivery::ActiveModel {
        event_id: Set(event.id),
        webhook_id: Set(webhook.id),
        state: Set(DeliveryState::Pending.as_str().to_owned()),
        attempts: Set(0),
        next_attempt_at: Set(now),
        leased_until: NotSet,
        last_status: NotSet,
        last_error: NotSet,
        created_at: Set(now),
        updated_at: Set(now),
    }
}

/// The deliveries of the event of the statement around it that the server must still make.
pub(super) fn pending_of_event() -> SelectStatement {
    let of_event = Expr::col((webhook_delivery::Entity, webhook_delivery::Column::EventId))
        .equals((event::Entity, event::Column::Id));
    let pending = webhook_delivery::Entity::find().filter(of_event).filter(Expr::cust(IS_PENDING));
    pending.select_only().expr(Expr::val(1)).into_query()
}

/// Removes the deliveries of these events.
pub(super) async fn drop_of_events(tx: &Transaction, events: &[Uuid]) -> Result<()> {
    let of_events = webhook_delivery::Column::EventId.is_in(events.iter().copied());
    webhook_delivery::Entity::delete_many().filter(of_events).exec(tx).await?;
    Ok(())
}

//! Events: what happened to uploads and files.
//!
//! Owns the rows and their order. The transaction that ends an upload inserts its event, so each end has exactly one event.
//! The event gets its position afterwards, in a transaction of its own: transactions do not commit in the order in which they
//! begin, and an event that commits late would else appear before one that a reader has seen. One node at a time assigns
//! positions, in the order in which the rows were inserted, under the lock of the row in `instance`. Does not own what is an event: that is `domain/event`.

use entity::{account, event, instance};
use sea_orm::{
    ActiveValue::{NotSet, Set},
    ColumnTrait, ConnAcquireErr, ConnectionTrait, DbBackend, DbErr, EntityTrait, Order, QueryFilter, QueryOrder,
    QuerySelect, Select, Statement,
    sea_query::{Expr, ExprTrait, LockType},
};

use super::{
    Db, Result, Transaction, at_most_one, deliveries,
    error::{LockWait, MayBeLocked, retry_transaction, retry_transient},
    instance::ROW,
    list_ranges::is_owners,
    rows,
    sessions::missing_row,
    turns::TURN_TIMEOUT,
};
use crate::domain::{Event, EventId, OwnerName, Timestamp};

/// The number of events that get their positions in one transaction.
const BATCH: u64 = 500;

/// A page of an owner's events.
#[derive(Debug)]
pub struct EventPage {
    /// The events, in the order of their positions.
    pub events: Vec<Event>,
    /// The position from which to go on. All events up to it are in this page or an earlier one.
    pub next: u64,
    /// Whether there are more events now.
    pub has_more: bool,
    /// The position of the latest event of all owners.
    pub head: u64,
}

impl Db {
    /// Assigns positions to the events that have none, and records for each of them which webhooks the server must send it to.
    /// Returns the number of events.
    pub async fn number_events(&self, now: Timestamp) -> Result<u64> {
        // One request of this node at a time. The others wait here, without a connection, and then find nothing to do.
        let turn = tokio::time::timeout(TURN_TIMEOUT, self.numbering.lock()).await;
        let _one_at_a_time = turn.map_err(|_| DbErr::ConnectionAcquire(ConnAcquireErr::Timeout))?;
        // Only the events that exist now: others may arrive faster than they are numbered.
        let Some(last) = self.waiting_events(Order::Desc).await? else { return Ok(0) };
        let mut numbered = 0;
        let mut wait = None;
        while self.waiting_events(Order::Asc).await?.is_some_and(|first| first <= last) {
            match retry_transient(|| self.try_number_events(now)).await {
                // Another node has the lock, and assigns the positions. After a pause, this looks again for events without a position.
                Err(error) if error.is_locked() => {
                    if !wait.get_or_insert_with(LockWait::default).pause().await {
                        return Err(error);
                    }
                }
                done => {
                    numbered += done?;
                    wait = None;
                }
            }
        }
        Ok(numbered)
    }

    /// The `seq` of the first or the last event without a position.
    async fn waiting_events(&self, order: Order) -> Result<Option<i64>> {
        let waiting = waiting(order).limit(1).select_only().column(event::Column::Seq);
        let found = retry_transient(|| waiting.clone().into_tuple::<i64>().all(&self.read)).await?;
        Ok(found.into_iter().next())
    }

    async fn try_number_events(&self, now: Timestamp) -> Result<u64> {
        let tx = self.begin(None).await?;
        let row = instance::Entity::find_by_id(ROW).lock(LockType::Update);
        let row = at_most_one(row, &tx).await?.ok_or_else(|| missing_row("instance"))?;
        let last = row.last_event_position;
        let statement = format!(
            "UPDATE event SET position = {last} + numbered.number \
             FROM (SELECT seq, ROW_NUMBER() OVER (ORDER BY seq) AS number FROM event WHERE position IS NULL \
             ORDER BY seq LIMIT {BATCH}) AS numbered WHERE event.seq = numbered.seq"
        );
        let numbered = tx.execute_raw(Statement::from_string(tx.get_database_backend(), statement)).await?;
        let numbered = i64::try_from(numbered.rows_affected()).unwrap_or_default();
        if numbered > 0 {
            deliveries::enqueue(&tx, &numbered_after(last).all(&tx).await?, now).await?;
            instance::Entity::update_many()
                .set(instance::ActiveModel { last_event_position: Set(last + numbered), ..Default::default() })
                .filter(instance::COLUMN.id.eq(ROW))
                .exec(&tx)
                .await?;
            tx.commit().await?;
        }
        Ok(numbered.unsigned_abs())
    }

    /// The position of the latest event of all owners.
    pub async fn events_head(&self) -> Result<u64> {
        let row = retry_transient(|| at_most_one(instance::Entity::find_by_id(ROW), &self.read)).await?;
        Ok(row.map_or(0, |row| row.last_event_position.unsigned_abs()))
    }

    /// The owner's events after a position: at most `limit`.
    pub async fn events(&self, owner: &OwnerName, after: u64, limit: u64) -> Result<EventPage> {
        // Read first: the page then has all events up to it.
        let head = self.events_head().await?;
        let page = feed(owner, after, self.read.get_database_backend()).limit(limit + 1);
        let mut found = retry_transient(|| page.clone().all(&self.read)).await?;
        let has_more = found.len() as u64 > limit;
        found.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
        // A row that is invalid is left out, so that it does not block the events after it.
        let last = found.last().and_then(|row| row.position).map_or(after, i64::unsigned_abs);
        let problem = |error: &_| tracing::error!(%error, "the row of an event is invalid");
        let events = found.into_iter().filter_map(|row| rows::event(row).inspect_err(problem).ok()).collect();
        let next = if has_more { last } else { Ord::max(last, head) };
        Ok(EventPage { events, next, has_more, head })
    }

    /// The position of one of the owner's events. `None` if there is no such event.
    pub async fn event_position(&self, owner: &OwnerName, id: EventId) -> Result<Option<u64>> {
        let wanted = event::Entity::find_by_id(id.0).filter(event::COLUMN.owner.eq(owner.as_str()));
        let row = retry_transient(|| at_most_one(wanted.clone(), &self.read)).await?;
        Ok(row.and_then(|row| row.position).map(i64::unsigned_abs))
    }

    /// The position of the latest event of this owner that was removed because of its age; 0 if there is none.
    pub async fn events_dropped_to(&self, owner: &OwnerName) -> Result<u64> {
        let row = retry_transient(|| at_most_one(account::Entity::find_by_id(owner.as_str()), &self.read)).await?;
        Ok(row.map_or(0, |row| row.events_dropped_to.unsigned_abs()))
    }

    /// Removes at most `limit` events that happened before this moment, with their deliveries, unless the server must still send
    /// them. Notes in the accounts up to
    /// which position events were removed. Returns their number.
    pub async fn drop_events(&self, before: Timestamp, limit: u64) -> Result<u64> {
        retry_transaction(|| self.try_drop_events(before, limit)).await
    }

    async fn try_drop_events(&self, before: Timestamp, limit: u64) -> Result<u64> {
        let old = settled_before(before).limit(limit);
        if retry_transient(|| old.clone().limit(1).all(&self.read)).await?.is_empty() {
            return Ok(0);
        }
        let tx = self.begin(None).await?;
        let mut old = old.all(&tx).await?;
        // Always in the same order, so that two nodes do not deadlock.
        old.sort_by(|one, other| (&one.owner, one.position).cmp(&(&other.owner, other.position)));
        for of_owner in old.chunk_by(|one, other| one.owner == other.owner) {
            let Some(last) = of_owner.last() else { continue };
            account::Entity::update_many()
                .col_expr(account::Column::EventsDroppedTo, Expr::value(last.position))
                .filter(account::COLUMN.owner.eq(last.owner.as_str()))
                .filter(Expr::col(account::Column::EventsDroppedTo).lt(last.position))
                .exec(&tx)
                .await?;
        }
        let ids: Vec<_> = old.iter().map(|event| event.id).collect();
        deliveries::drop_of_events(&tx, &ids).await?;
        event::Entity::delete_many().filter(event::Column::Id.is_in(ids)).exec(&tx).await?;
        tx.commit().await?;
        Ok(old.len() as u64)
    }
}

pub(super) fn waiting(order: Order) -> Select<event::Entity> {
    event::Entity::find().filter(event::COLUMN.position.is_null()).order_by(event::Column::Seq, order)
}

/// The events that got their positions in this transaction.
pub(super) fn numbered_after(last: i64) -> Select<event::Entity> {
    let new = event::Entity::find().filter(event::COLUMN.position.gt(last));
    // With a limit, PostgreSQL without statistics uses the index.
    new.order_by_asc(event::COLUMN.position).limit(BATCH)
}

/// The owner's events after a position, in the order of their index.
pub(super) fn feed(owner: &OwnerName, after: u64, backend: DbBackend) -> Select<event::Entity> {
    event::Entity::find()
        .filter(is_owners(event::Column::Owner, owner, backend))
        .filter(event::COLUMN.position.gt(i64::try_from(after).unwrap_or(i64::MAX)))
        .order_by_asc(event::COLUMN.owner)
        .order_by_asc(event::COLUMN.position)
}

/// The events that happened before this moment and that the server need not send any more.
pub(super) fn settled_before(before: Timestamp) -> Select<event::Entity> {
    event::Entity::find()
        .filter(event::COLUMN.created_at.lt(before))
        .filter(event::COLUMN.position.is_not_null())
        .filter(Expr::not_exists(deliveries::pending_of_event()))
        .order_by_asc(event::COLUMN.created_at)
}

/// Inserts an event.
pub(super) async fn insert(tx: &Transaction, event: &Event) -> Result<()> {
    event::Entity::insert(row_of(event)).exec_without_returning(tx).await?;
    Ok(())
}

pub(super) fn row_of(event: &Event) -> event::ActiveModel {
    event::ActiveModel {
        id: Set(event.id.0),
        seq: NotSet,
        position: NotSet,
        owner: Set(event.owner.to_string()),
        event_type: Set(event.event_type.as_str().to_owned()),
        session_id: Set(event.session_id.map(|id| id.0)),
        file_id: Set(event.file_id.0),
        data: Set(event.data.get().to_owned()),
        created_at: Set(event.created_at),
    }
}

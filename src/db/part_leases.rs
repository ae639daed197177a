//! Leases on parts that a request puts into an object store.
//!
//! Owns the rule that only one request at a time, on any node, may put a given part. An object store keeps the bytes of
//! the last put, and the database must record the same bytes. A request takes a lease by a conditional insert and
//! renews it while the put runs. The lease is a row of the table `upload_part_claim`. The transaction that records the
//! part deletes that row. A lease expires if the request does not renew it.

use chrono::TimeDelta;
use entity::upload_part_claim;
use sea_orm::{
    Condition, ConnectionTrait, DbBackend, EntityTrait, ExprTrait, QueryFilter,
    sea_query::{Expr, OnConflict, Query},
};
use uuid::Uuid;

use super::{Db, Result, error::retry_transient};
use crate::domain::{OwnerName, SessionId, Timestamp};

/// The right of one request to put a part.
#[derive(Clone, Copy, Debug)]
pub struct PartLease {
    session: SessionId,
    part_number: u32,
    holder: Uuid,
}

impl PartLease {
    /// A lease with a new holder id. [`Db::lease_part`] takes it.
    pub fn new(session: SessionId, part_number: u32) -> Self {
        Self { session, part_number, holder: Uuid::now_v7() }
    }

    fn own_row(&self) -> Condition {
        Condition::all()
            .add(upload_part_claim::COLUMN.session_id.eq(self.session.0))
            .add(upload_part_claim::COLUMN.part_number.eq(i64::from(self.part_number)))
            .add(upload_part_claim::COLUMN.claimant.eq(self.holder))
    }

    /// Deletes the row. False if the lease expired and another request took it.
    pub(super) async fn delete(&self, connection: &impl ConnectionTrait) -> Result<bool> {
        let deleted = upload_part_claim::Entity::delete_many().filter(self.own_row()).exec(connection).await?;
        Ok(deleted.rows_affected > 0)
    }
}

impl Db {
    /// Takes the lease for the time `duration`. False if another request has the lease. The statement waits for a turn
    /// to write in this owner's queue. `now` is used on SQLite only: see `moment`.
    pub async fn lease_part(
        &self,
        owner: &OwnerName,
        lease: &PartLease,
        now: Timestamp,
        duration: TimeDelta,
    ) -> Result<bool> {
        use upload_part_claim::Column;
        let has_expired =
            Expr::col((upload_part_claim::Entity, Column::ClaimedUntil)).lte(self.moment(now, TimeDelta::zero()));
        let mut take_over = OnConflict::columns([Column::SessionId, Column::PartNumber]);
        take_over.update_columns([Column::Claimant, Column::ClaimedUntil]).action_and_where(has_expired);
        let mut take = Query::insert();
        take.into_table(upload_part_claim::Entity)
            .columns([Column::SessionId, Column::PartNumber, Column::Claimant, Column::ClaimedUntil])
            .values_panic([
                Expr::val(lease.session.0),
                Expr::val(i64::from(lease.part_number)),
                Expr::val(lease.holder),
                self.moment(now, duration),
            ])
            .on_conflict(take_over);
        Ok(self.write.of(owner).execute(&take).await?.rows_affected() > 0)
    }

    /// Extends the lease to `duration` from now. False if it expired and another request took it.
    pub async fn renew_lease(&self, lease: &PartLease, now: Timestamp, duration: TimeDelta) -> Result<bool> {
        let renewal = upload_part_claim::Entity::update_many()
            .col_expr(upload_part_claim::Column::ClaimedUntil, self.moment(now, duration))
            .filter(lease.own_row());
        let renewed = retry_transient(|| renewal.clone().exec(&self.write)).await?;
        Ok(renewed.rows_affected > 0)
    }

    /// The moment `offset` after now. On PostgreSQL it is computed from the database's clock, because the clocks of the
    /// nodes may differ. On SQLite there is only one node, and its clock is `now`.
    fn moment(&self, now: Timestamp, offset: TimeDelta) -> Expr {
        match self.write.get_database_backend() {
            DbBackend::Postgres => {
                Expr::cust(format!("clock_timestamp() + INTERVAL '{} milliseconds'", offset.num_milliseconds()))
            }
            _ => Expr::val(now + offset),
        }
    }

    /// Deletes the lease, so that another request can take one at once.
    pub async fn release_lease(&self, lease: &PartLease) -> Result<()> {
        retry_transient(|| lease.delete(&self.write)).await.map(drop)
    }
}

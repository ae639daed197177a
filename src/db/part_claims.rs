//! Claims on parts that are being put into an object store.
//!
//! Owns the rule that at any time one request, of whichever server, may put a given part: a store keeps what came last,
//! and what came last must be what is recorded. A claim is taken by a conditional insert, lapses by itself unless it is
//! renewed, and goes with the transaction that records the part.

use chrono::TimeDelta;
use entity::upload_part_claim;
use sea_orm::{
    Condition, ConnectionTrait, DbBackend, EntityTrait, ExprTrait, QueryFilter,
    sea_query::{Expr, OnConflict, Query},
};
use uuid::Uuid;

use super::{Db, Result, error::retry_transient};
use crate::domain::{OwnerName, SessionId, Timestamp};

/// The right to put a part.
#[derive(Clone, Copy, Debug)]
pub struct PartClaim {
    session: SessionId,
    part_number: u32,
    claimant: Uuid,
}

impl PartClaim {
    /// A claim that is still to be taken.
    pub fn new(session: SessionId, part_number: u32) -> Self {
        Self { session, part_number, claimant: Uuid::now_v7() }
    }

    fn is_mine(&self) -> Condition {
        Condition::all()
            .add(upload_part_claim::COLUMN.session_id.eq(self.session.0))
            .add(upload_part_claim::COLUMN.part_number.eq(i64::from(self.part_number)))
            .add(upload_part_claim::COLUMN.claimant.eq(self.claimant))
    }

    /// False if it was somebody else's.
    pub(super) async fn delete(&self, connection: &impl ConnectionTrait) -> Result<bool> {
        let deleted = upload_part_claim::Entity::delete_many().filter(self.is_mine()).exec(connection).await?;
        Ok(deleted.rows_affected > 0)
    }
}

impl Db {
    /// Takes the claim for so long, in the owner's turn, unless another request has it. False if so. `now` counts on SQLite
    /// alone.
    pub async fn claim_part(
        &self,
        owner: &OwnerName,
        claim: &PartClaim,
        now: Timestamp,
        lasting: TimeDelta,
    ) -> Result<bool> {
        use upload_part_claim::Column;
        let has_lapsed =
            Expr::col((upload_part_claim::Entity, Column::ClaimedUntil)).lte(self.after(now, TimeDelta::zero()));
        let mut take_over = OnConflict::columns([Column::SessionId, Column::PartNumber]);
        take_over.update_columns([Column::Claimant, Column::ClaimedUntil]).action_and_where(has_lapsed);
        let mut take = Query::insert();
        take.into_table(upload_part_claim::Entity)
            .columns([Column::SessionId, Column::PartNumber, Column::Claimant, Column::ClaimedUntil])
            .values_panic([
                Expr::val(claim.session.0),
                Expr::val(i64::from(claim.part_number)),
                Expr::val(claim.claimant),
                self.after(now, lasting),
            ])
            .on_conflict(take_over);
        Ok(self.write.of(owner).execute(&take).await?.rows_affected() > 0)
    }

    /// Keeps the claim for so long from now on. False if it lapsed and somebody else has it now.
    pub async fn renew_claim(&self, claim: &PartClaim, now: Timestamp, lasting: TimeDelta) -> Result<bool> {
        let renewal = upload_part_claim::Entity::update_many()
            .col_expr(upload_part_claim::Column::ClaimedUntil, self.after(now, lasting))
            .filter(claim.is_mine());
        let renewed = retry_transient(|| renewal.clone().exec(&self.write)).await?;
        Ok(renewed.rows_affected > 0)
    }

    /// A moment that all servers mean alike: PostgreSQL's clock is the same for all, theirs may differ. SQLite has one server.
    fn after(&self, now: Timestamp, lasting: TimeDelta) -> Expr {
        match self.write.get_database_backend() {
            DbBackend::Postgres => {
                Expr::cust(format!("clock_timestamp() + INTERVAL '{} milliseconds'", lasting.num_milliseconds()))
            }
            _ => Expr::val(now + lasting),
        }
    }

    /// Gives the claim back.
    pub async fn release_claim(&self, claim: &PartClaim) -> Result<()> {
        retry_transient(|| claim.delete(&self.write)).await.map(drop)
    }
}

//! Claims on parts that are being put into an object store.
//!
//! Owns the rule that at any time one request, of whichever server, may put a given part: a store keeps what came last,
//! and what came last must be what is recorded. A claim is taken by a conditional insert, lapses by itself unless it is
//! renewed, and goes with the transaction that records the part.

use entity::upload_part_claim;
use sea_orm::{
    ActiveValue::Set,
    Condition, ConnectionTrait, EntityTrait, ExprTrait, QueryFilter,
    sea_query::{Expr, OnConflict},
};
use uuid::Uuid;

use super::{Db, Result, again, error::unless_locked};
use crate::domain::{SessionId, Timestamp};

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
    /// Takes the claim, unless another request has it. False if so.
    pub async fn claim_part(&self, claim: &PartClaim, now: Timestamp, until: Timestamp) -> Result<bool> {
        use upload_part_claim::Column;
        let row = upload_part_claim::ActiveModel {
            session_id: Set(claim.session.0),
            part_number: Set(claim.part_number.into()),
            claimant: Set(claim.claimant),
            claimed_until: Set(until),
        };
        let has_lapsed = Expr::col((upload_part_claim::Entity, Column::ClaimedUntil)).lte(now);
        let mut take_over = OnConflict::columns([Column::SessionId, Column::PartNumber]);
        take_over.update_columns([Column::Claimant, Column::ClaimedUntil]).action_and_where(has_lapsed);
        let take = || upload_part_claim::Entity::insert(row.clone()).on_conflict(take_over.clone());
        Ok(unless_locked(|| take().exec_without_returning(&self.write)).await? > 0)
    }

    /// Keeps the claim for longer. False if it lapsed and somebody else has it now.
    pub async fn renew_claim(&self, claim: &PartClaim, until: Timestamp) -> Result<bool> {
        let renewal = upload_part_claim::Entity::update_many()
            .set(upload_part_claim::ActiveModel { claimed_until: Set(until), ..Default::default() })
            .filter(claim.is_mine());
        let renewed = again(|| renewal.clone().exec(&self.write)).await?;
        Ok(renewed.rows_affected > 0)
    }

    /// Gives the claim back.
    pub async fn release_claim(&self, claim: &PartClaim) -> Result<()> {
        again(|| claim.delete(&self.write)).await.map(drop)
    }
}

//! The removal of the part rows of sessions that ended long ago.
//!
//! Owns the states of `upload_session.part_rows`. A session goes from `KEPT` to `REMOVING`: from then on no reader uses its
//! rows, because they are no longer complete. Then the rows are deleted, a limited number in each transaction, so that other
//! writers wait only briefly. `REMOVED` follows if no row is left. So any node can continue after a crash at any point, and
//! several nodes can remove the same rows at once. Does not own when a session has ended long ago: that is `service`.

use entity::{upload_part, upload_session};
use sea_orm::{
    ActiveValue::Set,
    EntityTrait, QueryFilter, QueryOrder, QuerySelect, QueryTrait, Select,
    sea_query::{Expr, ExprTrait},
};
use uuid::Uuid;

use super::{
    Db, Result,
    error::{retry_transaction, retry_transient},
    rows::{PART_ROWS_KEPT, PART_ROWS_REMOVED, PART_ROWS_REMOVING},
    sessions::OPEN,
};
use crate::domain::{SessionId, Timestamp};

/// The condition of the partial index `upload_session_part_rows`, with the same text; see `sweep`.
const HAS_ENDED_AND_HAS_PART_ROWS: &str = "part_rows <> 'REMOVED' AND status IN ('COMPLETE', 'FAILED', 'ABORTED')";
/// The number of rows that one transaction deletes.
const MAX_ROWS: u64 = 5_000;

impl Db {
    /// The ids of sessions that ended before this moment and may still have part rows: at most `limit`, the oldest first.
    pub async fn sessions_with_old_parts(&self, before: Timestamp, limit: u64) -> Result<Vec<SessionId>> {
        let old = with_old_parts(before).limit(limit).select_only().column(upload_session::Column::Id);
        let found: Vec<Uuid> = retry_transient(|| old.clone().into_tuple().all(&self.read)).await?;
        Ok(found.into_iter().map(SessionId).collect())
    }

    /// Records that the part rows of these sessions, which have ended, are no longer kept.
    pub async fn begin_part_removal(&self, ids: &[SessionId]) -> Result<()> {
        // Not the condition of the index: PostgreSQL without statistics would read the whole index.
        let begin = among(ids)
            .set(upload_session::ActiveModel { part_rows: Set(PART_ROWS_REMOVING.to_owned()), ..Default::default() })
            .filter(upload_session::COLUMN.part_rows.eq(PART_ROWS_KEPT))
            .filter(upload_session::COLUMN.status.is_not_in(OPEN));
        retry_transaction(|| async { Ok(begin.clone().exec(&self.write).await?) }).await.map(drop)
    }

    /// Deletes a limited number of the part rows of these sessions, for which
    /// [`begin_part_removal`](Self::begin_part_removal) was called. Returns the number of rows; 0 if none is left, or if
    /// another node has deleted the same rows.
    pub async fn remove_part_rows(&self, ids: &[SessionId]) -> Result<u64> {
        let delete = some_rows_of(ids);
        let deleted = retry_transaction(|| async { Ok(delete.clone().exec(&self.write).await?) }).await?;
        Ok(deleted.rows_affected)
    }

    /// Records that the part rows of these sessions are removed, if none is left. Returns the number of sessions for which this
    /// call recorded it.
    pub async fn end_part_removal(&self, ids: &[SessionId]) -> Result<u64> {
        let left = upload_part::Entity::find()
            .select_only()
            .expr(Expr::val(1))
            .filter(
                Expr::col((upload_part::Entity, upload_part::Column::SessionId))
                    .equals((upload_session::Entity, upload_session::Column::Id)),
            )
            .into_query();
        let end = among(ids)
            .set(upload_session::ActiveModel { part_rows: Set(PART_ROWS_REMOVED.to_owned()), ..Default::default() })
            .filter(upload_session::COLUMN.part_rows.eq(PART_ROWS_REMOVING))
            .filter(Expr::not_exists(left));
        let ended = retry_transaction(|| async { Ok(end.clone().exec(&self.write).await?) }).await?;
        Ok(ended.rows_affected)
    }
}

pub(super) fn with_old_parts(before: Timestamp) -> Select<upload_session::Entity> {
    upload_session::Entity::find()
        .filter(Expr::cust(HAS_ENDED_AND_HAS_PART_ROWS))
        .filter(upload_session::COLUMN.updated_at.lt(before))
        .order_by_asc(upload_session::COLUMN.updated_at)
}

fn among(ids: &[SessionId]) -> sea_orm::UpdateMany<upload_session::Entity> {
    upload_session::Entity::update_many().filter(upload_session::COLUMN.id.is_in(ids.iter().map(|id| id.0)))
}

pub(super) fn some_rows_of(ids: &[SessionId]) -> sea_orm::DeleteMany<upload_part::Entity> {
    let key = [upload_part::Column::SessionId, upload_part::Column::PartNumber];
    let some = upload_part::Entity::find()
        .select_only()
        .columns(key)
        .filter(upload_part::COLUMN.session_id.is_in(ids.iter().map(|id| id.0)))
        // With this order, PostgreSQL without statistics uses the primary key.
        .order_by_asc(upload_part::COLUMN.session_id)
        .order_by_asc(upload_part::COLUMN.part_number)
        .limit(MAX_ROWS)
        .into_query();
    upload_part::Entity::delete_many().filter(Expr::tuple(key.map(Expr::col)).in_subquery(some))
}

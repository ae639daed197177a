//! Statements of the sweep: which sessions are due, and which node frees their bytes.
//!
//! Several nodes may sweep one database. A node takes a freeing lease on a session by a conditional update, for longer
//! than the work takes. If the node dies, the lease expires and another node takes one.

use entity::{upload_file, upload_session};
use sea_orm::{
    ActiveModelTrait,
    ActiveValue::{Set, Unchanged},
    ColumnTrait, Condition, EntityTrait, QueryFilter, QueryOrder, QuerySelect, QueryTrait, Select,
    sea_query::Expr,
};
use uuid::Uuid;

use super::{
    Db, Result,
    error::retry_transient,
    rows,
    sessions::{ENDED, OPEN},
    unreadable::{bytes_columns_of, each, session_of},
};
use crate::domain::{FileId, OwnerName, Session, SessionId, SessionStatus, Timestamp};

// The conditions of the partial indexes that the sweep uses, with the same text. SQLite uses a partial index only if
// the statement's condition implies the index's condition, and it cannot see that through a bound parameter.
const IS_OPEN: &str = "status IN ('INIT', 'IN_PROGRESS')";
const IS_TO_BE_FINALIZED: &str =
    "auto_finalize AND completed_parts = total_parts AND status IN ('INIT', 'IN_PROGRESS')";
const HAS_BYTES_TO_FREE: &str = "NOT bytes_freed AND (status IN ('FAILED', 'ABORTED') OR file_deleted)";
const IS_STORED: &str = "status = 'STORED'";

impl Db {
    /// The ids of open sessions that have expired at `now`, in the order of their expiry.
    pub async fn expired_sessions(&self, now: Timestamp, limit: u64) -> Result<Vec<SessionId>> {
        let due = expired(now).limit(limit);
        let found = retry_transient(|| ids_of(due.clone()).all(&self.read)).await?;
        Ok(found.into_iter().map(SessionId).collect())
    }

    /// The ids of the sessions whose stored file must be deleted, because the end of its retention has come: at most `limit`, in
    /// the order of that time, without the first `skip`.
    pub async fn sessions_with_due_file(&self, now: Timestamp, skip: u64, limit: u64) -> Result<Vec<SessionId>> {
        let files = due_files(now).offset(skip).limit(limit).into_query();
        let due = upload_session::Entity::find().filter(upload_session::Column::FileId.in_subquery(files));
        let found = retry_transient(|| ids_of(due.clone()).all(&self.read)).await?;
        Ok(found.into_iter().map(SessionId).collect())
    }

    /// Sessions that ended without a file, or whose file was deleted at `deleted_until` or before, whose bytes are not freed,
    /// and on which no node has a freeing lease. Reads only the columns that locate the bytes, so that one invalid row does
    /// not block the others.
    pub async fn sessions_to_free(&self, now: Timestamp, deleted_until: Timestamp, limit: u64) -> Result<Vec<Session>> {
        let due = to_be_freed(now, deleted_until).limit(limit);
        let found = retry_transient(|| bytes_columns_of(due.clone()).all(&self.read)).await?;
        found.into_iter().map(|columns| session_of(columns, now)).collect()
    }

    /// Takes the freeing lease on a session of [`sessions_to_free`](Self::sessions_to_free), until the moment `until`.
    /// False if another node has it.
    pub async fn lease_to_free(
        &self,
        id: SessionId,
        now: Timestamp,
        deleted_until: Timestamp,
        until: Timestamp,
    ) -> Result<bool> {
        let lease = upload_session::Entity::update_many()
            .set(upload_session::ActiveModel { freeing_until: Set(Some(until)), ..Default::default() })
            .filter(upload_session::COLUMN.id.eq(id.0))
            .filter(is_to_be_freed(now, deleted_until));
        let leased = lease.exec(&self.write).await?;
        Ok(leased.rows_affected > 0)
    }

    /// Takes the freeing leases of those of these files that were deleted, until the moment `until`, so that no node frees their
    /// bytes before. Leaves leases that last until `enough`. Writes nothing if no file was deleted.
    pub async fn postpone_freeing(&self, files: &[FileId], enough: Timestamp, until: Timestamp) -> Result<()> {
        let to_postpone = Condition::all()
            .add(upload_session::Column::FileId.is_in(files.iter().map(|id| id.0)))
            .add(upload_session::COLUMN.file_deleted.eq(true))
            .add(upload_session::COLUMN.bytes_freed.eq(false))
            .add(
                Condition::any()
                    .add(upload_session::COLUMN.freeing_until.is_null())
                    .add(upload_session::COLUMN.freeing_until.lt(enough)),
            );
        let found = ids_of(upload_session::Entity::find().filter(to_postpone.clone()).limit(1));
        if found.all(&self.read).await?.is_empty() {
            return Ok(());
        }
        let postpone = upload_session::Entity::update_many()
            .set(upload_session::ActiveModel { freeing_until: Set(Some(until)), ..Default::default() })
            .filter(to_postpone);
        retry_transient(|| postpone.clone().exec(&self.write)).await?;
        Ok(())
    }

    /// Records that the bytes of a session are freed.
    pub async fn mark_freed(&self, id: SessionId) -> Result<()> {
        let freed = upload_session::ActiveModel { id: Unchanged(id.0), bytes_freed: Set(true), ..Default::default() };
        retry_transient(|| freed.clone().update_without_returning(&self.write)).await?;
        Ok(())
    }

    /// Open sessions that have all bytes and finalize automatically, in the order of their ids: the ids and the owners.
    pub async fn sessions_to_finalize(&self, after: SessionId, limit: u64) -> Result<Vec<(SessionId, OwnerName)>> {
        let due = to_be_finalized(after).limit(limit);
        let columns = [upload_session::Column::Id, upload_session::Column::Owner];
        let found: Vec<(Uuid, String)> =
            retry_transient(|| due.clone().select_only().columns(columns).into_tuple().all(&self.read)).await?;
        let owner =
            |id, name: &str| OwnerName::parse(name).ok_or_else(|| rows::CorruptRow::new("upload_session", id, "owner"));
        found.into_iter().map(|(id, name)| Ok((SessionId(id), owner(id, &name)?))).collect()
    }

    /// The ids of open sessions of which bytes have arrived.
    pub async fn sessions_with_bytes(&self) -> Result<Vec<SessionId>> {
        let found = retry_transient(|| ids_of(with_bytes()).all(&self.read)).await?;
        Ok(found.into_iter().map(SessionId).collect())
    }

    /// Filters these ids: returns those of open sessions if `open`, else those of ended sessions, of any owner.
    pub async fn sessions_among(&self, ids: &[SessionId], open: bool) -> Result<Vec<SessionId>> {
        let status = if open { OPEN.as_slice() } else { ENDED.as_slice() };
        let wanted = upload_session::Entity::find()
            .filter(upload_session::COLUMN.id.is_in(ids.iter().map(|id| id.0)))
            .filter(upload_session::COLUMN.status.is_in(status.iter().copied()));
        let found = retry_transient(|| ids_of(wanted.clone()).all(&self.read)).await?;
        Ok(found.into_iter().map(SessionId).collect())
    }

    /// The open sessions with these ids, of any owner. Logs an invalid row and leaves it out.
    pub async fn open_sessions(&self, ids: &[SessionId]) -> Result<Vec<Session>> {
        let open = upload_session::Entity::find()
            .filter(upload_session::COLUMN.id.is_in(ids.iter().map(|id| id.0)))
            .filter(upload_session::COLUMN.status.is_in(OPEN));
        let readable = |(_, read): (_, Result<Session>)| {
            read.inspect_err(|error| tracing::error!(%error, "the row of a session is invalid")).ok()
        };
        Ok(each(&self.read, &open, rows::session).await?.into_iter().filter_map(readable).collect())
    }
}

/// Open sessions with bytes, in the order of an index that has only open sessions.
fn with_bytes() -> Select<upload_session::Entity> {
    upload_session::Entity::find()
        .filter(Expr::cust(IS_OPEN))
        .filter(upload_session::COLUMN.status.eq(SessionStatus::InProgress.as_str()))
        .order_by_asc(upload_session::COLUMN.expires_at)
}

fn ids_of(select: Select<upload_session::Entity>) -> sea_orm::Selector<sea_orm::SelectGetableTuple<Uuid>> {
    select.select_only().column(upload_session::Column::Id).into_tuple()
}

fn expired(now: Timestamp) -> Select<upload_session::Entity> {
    upload_session::Entity::find()
        .filter(Expr::cust(IS_OPEN))
        .filter(upload_session::COLUMN.expires_at.lte(now))
        .order_by_asc(upload_session::COLUMN.expires_at)
}

fn to_be_finalized(after: SessionId) -> Select<upload_session::Entity> {
    upload_session::Entity::find()
        .filter(Expr::cust(IS_TO_BE_FINALIZED))
        .filter(upload_session::COLUMN.id.gt(after.0))
        .order_by_asc(upload_session::COLUMN.id)
}

fn due_files(now: Timestamp) -> Select<upload_file::Entity> {
    upload_file::Entity::find()
        .select_only()
        .column(upload_file::Column::Id)
        .filter(Expr::cust(IS_STORED))
        .filter(upload_file::COLUMN.retain_until.lte(now))
        .order_by_asc(upload_file::COLUMN.retain_until)
}

fn to_be_freed(now: Timestamp, deleted_until: Timestamp) -> Select<upload_session::Entity> {
    upload_session::Entity::find().filter(is_to_be_freed(now, deleted_until)).order_by_asc(upload_session::COLUMN.id)
}

fn is_to_be_freed(now: Timestamp, deleted_until: Timestamp) -> Condition {
    let is_free = Condition::any()
        .add(upload_session::COLUMN.freeing_until.is_null())
        .add(upload_session::COLUMN.freeing_until.lte(now));
    // A session with a deleted file does not change any more, so it was last updated by the deletion.
    let may_be_freed = Condition::any()
        .add(upload_session::COLUMN.file_deleted.eq(false))
        .add(upload_session::COLUMN.updated_at.lte(deleted_until));
    Condition::all().add(Expr::cust(HAS_BYTES_TO_FREE)).add(is_free).add(may_be_freed)
}

#[cfg(test)]
mod tests {
    use sea_orm::{ConnectionTrait, DbBackend, Statement};

    use super::*;
    use crate::domain::{Clock, SystemClock};

    #[tokio::test]
    async fn the_sweep_finds_due_sessions_by_a_partial_index() {
        let folder = tempfile::tempdir().unwrap();
        let db = Db::open_sqlite(&folder.path().join("partway.db")).await.unwrap();
        db.migrate().await.unwrap();
        let now = SystemClock.now();
        let (expiry, to_free) = ("upload_session_expiry", "upload_session_to_free");
        let finalize = (to_be_finalized(SessionId(Uuid::nil())), "upload_session_to_finalize");
        let sessions = [(expired(now), expiry), (to_be_freed(now, now), to_free), (with_bytes(), expiry), finalize];
        let statement = |select: Select<upload_session::Entity>| select.limit(100).build(DbBackend::Sqlite);
        let mut statements: Vec<_> = sessions.map(|(select, index)| (statement(select), index)).into();
        statements.push((due_files(now).limit(100).build(DbBackend::Sqlite), "upload_file_retention"));
        for (statement, index) in statements {
            let sql = format!("EXPLAIN QUERY PLAN {statement}");
            let plan = db.write.query_all_raw(Statement::from_string(DbBackend::Sqlite, sql)).await.unwrap();
            let steps: Vec<String> = plan.iter().map(|row| row.try_get("", "detail").unwrap()).collect();
            assert_eq!(steps.len(), 1, "{steps:?}");
            assert!(steps[0].contains(index), "{steps:?}");
        }
    }
}

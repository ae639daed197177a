//! Statements of the sweep: which sessions are due, and which node frees their bytes.
//!
//! Several nodes may sweep one database. A node takes a freeing lease on a session by a conditional update, for longer
//! than the work takes. If the node dies, the lease expires and another node takes one.

use entity::{upload_file, upload_session};
use sea_orm::{
    ActiveModelTrait,
    ActiveValue::{Set, Unchanged},
    ColumnTrait, Condition, EntityTrait, QueryFilter, QueryOrder, QuerySelect, QueryTrait, Select,
    sea_query::{Expr, ExprTrait},
};
use uuid::Uuid;

use super::{
    Db, Result,
    error::retry_transient,
    rows,
    sessions::{ENDED, OPEN},
    unreadable::{bytes_columns_of, each, session_of},
};
use crate::domain::{FileId, OwnerName, Session, SessionId, Timestamp};

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

    /// The open sessions after this one, or the first ones, in the order of their expiry: at most `limit`. If a row is invalid, only
    /// its own entry is an error.
    pub async fn open_sessions_after(
        &self,
        after: Option<(Timestamp, SessionId)>,
        limit: u64,
    ) -> Result<Vec<Result<Session>>> {
        let found = each(&self.read, &open_after(after).limit(limit), rows::session).await?;
        Ok(found.into_iter().map(|(_, read)| read).collect())
    }

    /// Filters these ids: returns those of open sessions if `open`, else those of ended sessions, of any owner. Filters here and not
    /// in the statement: PostgreSQL without statistics would read an index of all open sessions.
    pub async fn sessions_among(&self, ids: &[SessionId], open: bool) -> Result<Vec<SessionId>> {
        let wanted = upload_session::Entity::find()
            .filter(upload_session::COLUMN.id.is_in(ids.iter().map(|id| id.0)))
            .select_only()
            .columns([upload_session::Column::Id, upload_session::Column::Status]);
        let found: Vec<(Uuid, String)> = retry_transient(|| wanted.clone().into_tuple().all(&self.read)).await?;
        let statuses = if open { OPEN.as_slice() } else { ENDED.as_slice() };
        let is_wanted = |status: &str| statuses.contains(&status);
        Ok(found.into_iter().filter(|(_, status)| is_wanted(status)).map(|(id, _)| SessionId(id)).collect())
    }
}

/// Open sessions after this one, in the order of their expiry. A session that gets a part moves towards the end, so none is left out.
pub(super) fn open_after(after: Option<(Timestamp, SessionId)>) -> Select<upload_session::Entity> {
    let key = [upload_session::Column::ExpiresAt, upload_session::Column::Id];
    let mut open = upload_session::Entity::find().filter(Expr::cust(IS_OPEN));
    if let Some((expires_at, id)) = after {
        let after = Expr::tuple([Expr::value(expires_at), Expr::value(id.0)]);
        open = open.filter(Expr::tuple(key.map(Expr::col)).gt(after));
    }
    key.into_iter().fold(open, |open, column| open.order_by_asc(column))
}

fn ids_of(select: Select<upload_session::Entity>) -> sea_orm::Selector<sea_orm::SelectGetableTuple<Uuid>> {
    select.select_only().column(upload_session::Column::Id).into_tuple()
}

pub(super) fn expired(now: Timestamp) -> Select<upload_session::Entity> {
    upload_session::Entity::find()
        .filter(Expr::cust(IS_OPEN))
        .filter(upload_session::COLUMN.expires_at.lte(now))
        .order_by_asc(upload_session::COLUMN.expires_at)
}

pub(super) fn to_be_finalized(after: SessionId) -> Select<upload_session::Entity> {
    upload_session::Entity::find()
        .filter(Expr::cust(IS_TO_BE_FINALIZED))
        .filter(upload_session::COLUMN.id.gt(after.0))
        .order_by_asc(upload_session::COLUMN.id)
}

pub(super) fn due_files(now: Timestamp) -> Select<upload_file::Entity> {
    upload_file::Entity::find()
        .select_only()
        .column(upload_file::Column::Id)
        .filter(Expr::cust(IS_STORED))
        .filter(upload_file::COLUMN.retain_until.lte(now))
        .order_by_asc(upload_file::COLUMN.retain_until)
}

pub(super) fn to_be_freed(now: Timestamp, deleted_until: Timestamp) -> Select<upload_session::Entity> {
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

//! Reads of a move's source.
//!
//! Owns the statements that walk through all sessions of all owners. Does not own the copying of rows: that is in `move_rows`.

use entity::{instance, upload_file, upload_session};
use sea_orm::{
    EntityTrait, QueryFilter, QueryOrder, QuerySelect, QueryTrait,
    sea_query::{Expr, ExprTrait},
};
use uuid::Uuid;

use super::{Db, Result, at_most_one, error::retry_transient, instance::ROW, sessions::joined, unreadable::read_each};
use crate::domain::{FileId, SessionId, Timestamp, Upload};

impl Db {
    /// The uploads after this session, or the first ones: at most `limit`, in the order of their ids. If a row is invalid, only its
    /// own entry is an error.
    pub async fn uploads_after(
        &self,
        after: Option<SessionId>,
        limit: u64,
    ) -> Result<Vec<(SessionId, Result<Upload>)>> {
        let mut wanted = joined().order_by_asc(upload_session::COLUMN.id).limit(limit);
        if let Some(after) = after {
            wanted = wanted.filter(upload_session::COLUMN.id.gt(after.0));
        }
        read_each(&self.read, &wanted).await
    }

    /// The files to which no session refers.
    pub async fn files_without_session(&self) -> Result<Vec<FileId>> {
        let used = upload_session::Entity::find().select_only().column(upload_session::Column::FileId).into_query();
        let unused = upload_file::Entity::find()
            .select_only()
            .column(upload_file::Column::Id)
            .filter(Expr::col(upload_file::Column::Id).not_in_subquery(used));
        let found: Vec<Uuid> = retry_transient(|| unused.clone().into_tuple().all(&self.read)).await?;
        Ok(found.into_iter().map(FileId).collect())
    }

    /// When a server last looked at the clock: at most about an hour before it stopped. `None` if never.
    pub async fn last_sweep(&self) -> Result<Option<Timestamp>> {
        let row = retry_transient(|| at_most_one(instance::Entity::find_by_id(ROW), &self.read)).await?;
        Ok(row.and_then(|row| row.expiry_seen_at))
    }
}

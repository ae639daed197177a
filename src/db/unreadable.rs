//! Rows that cannot be read.
//!
//! Owns reading rows one by one, so that one that makes no sense does not take the others down, and ending a session of
//! which no more is known than where its bytes are.

use entity::{upload_file, upload_session};
use sea_orm::{
    ActiveModelTrait,
    ActiveValue::{Set, Unchanged},
    Condition, ConnectionTrait, EntityTrait, FromQueryResult, PaginatorTrait, QueryFilter, QueryResult, QuerySelect,
    QueryTrait,
    sea_query::{Expr, ExprTrait},
};
use uuid::Uuid;

use super::{
    Connection, Db, Result,
    error::{retry_transaction, retry_transient},
    rows,
    sessions::{ENDED, upload},
};
use crate::domain::{
    FileId, FileStatus, OwnerName, PartPlan, PartSet, Session, SessionId, SessionStatus, StatusReason, Timestamp,
    Upload,
};

/// What sea-orm puts before the columns of a session and of its file, where both are read.
const SESSION: &str = "A_";
const FILE: &str = "B_";

/// The columns that tell where a session's bytes are, and which of them go.
pub(super) type Remains = (Uuid, Uuid, Option<String>, Option<String>);

/// What became of a session that cannot be read and was to be ended.
#[derive(Debug)]
pub enum EndedUnreadable {
    /// It is ended, now or before; its bytes are to be freed. Only its ids are true.
    WithoutFile(Box<Session>),
    /// It is complete; nothing changed. Only its ids and its status are true.
    Complete(Box<Session>),
    /// The owner has none with this id.
    Unknown,
}

impl Db {
    /// Ends a session whose row, or whose file's row, cannot be read: by the columns alone that say so.
    pub async fn end_unreadable(
        &self,
        owner: Option<&OwnerName>,
        id: SessionId,
        reason: StatusReason,
        now: Timestamp,
    ) -> Result<EndedUnreadable> {
        retry_transaction(|| self.try_end_unreadable(owner, id, reason, now)).await
    }

    async fn try_end_unreadable(
        &self,
        owner: Option<&OwnerName>,
        id: SessionId,
        reason: StatusReason,
        now: Timestamp,
    ) -> Result<EndedUnreadable> {
        let tx = self.begin(owner).await?;
        let mut own = upload_session::Entity::find_by_id(id.0);
        if let Some(owner) = owner {
            own = own.filter(upload_session::COLUMN.owner.eq(owner.as_str()));
        }
        let Some(remains) = remains_of(own).all(&tx).await?.pop() else { return Ok(EndedUnreadable::Unknown) };
        let session = session_of(remains, now)?;
        // A damaged status must not take a complete file from its owner.
        let complete = upload_file::Entity::find_by_id(session.file_id.0).filter(
            Condition::any()
                .add(upload_file::COLUMN.status.eq(FileStatus::Stored.as_str()))
                .add(upload_file::COLUMN.location.is_not_null()),
        );
        if complete.count(&tx).await? > 0 {
            return Ok(EndedUnreadable::Complete(Box::new(Session { status: SessionStatus::Complete, ..session })));
        }
        let ended = upload_session::Entity::update_many()
            .set(upload_session::ActiveModel {
                status: Set(SessionStatus::Aborted.as_str().to_owned()),
                status_reason: Set(Some(reason.as_str().to_owned())),
                updated_at: Set(now),
                ..Default::default()
            })
            .col_expr(upload_session::Column::Version, Expr::col(upload_session::Column::Version).add(1))
            .filter(upload_session::COLUMN.id.eq(id.0))
            .filter(upload_session::COLUMN.status.is_not_in(ENDED))
            .exec(&tx)
            .await?;
        if ended.rows_affected > 0 {
            let file = upload_file::ActiveModel {
                id: Unchanged(session.file_id.0),
                status: Set(FileStatus::Failed.as_str().to_owned()),
                updated_at: Set(now),
                ..Default::default()
            };
            file.update_without_returning(&tx).await?;
            tx.commit().await?;
            return Ok(EndedUnreadable::WithoutFile(Box::new(session)));
        }
        Ok(EndedUnreadable::WithoutFile(Box::new(session)))
    }
}

/// Reads each row by itself, under the session's id. Rows whose id cannot be read are not told.
pub(super) async fn read_each(
    connection: &Connection,
    select: &sea_orm::SelectTwo<upload_session::Entity, upload_file::Entity>,
) -> Result<Vec<(SessionId, Result<Upload>)>> {
    let statement = select.build(connection.get_database_backend());
    let found = retry_transient(|| connection.query_all_raw(statement.clone())).await?;
    Ok(found.iter().filter_map(|row| Some((SessionId(row.try_get(SESSION, "id").ok()?), read(row)))).collect())
}

fn read(row: &QueryResult) -> Result<Upload> {
    let session = upload_session::Model::from_query_result(row, SESSION)?;
    upload((session, upload_file::Model::from_query_result_optional(row, FILE)?))
}

/// Reads each row by itself, under its id.
pub(super) async fn each<E: EntityTrait, T>(
    connection: &Connection,
    select: &sea_orm::Select<E>,
    read: impl Fn(E::Model) -> Result<T, rows::CorruptRow>,
) -> Result<Vec<(Uuid, Result<T>)>> {
    let statement = select.build(connection.get_database_backend());
    let found = retry_transient(|| connection.query_all_raw(statement.clone())).await?;
    let read = |row: &QueryResult| Ok(read(E::Model::from_query_result(row, "")?)?);
    Ok(found.iter().filter_map(|row| Some((row.try_get("", "id").ok()?, read(row)))).collect())
}

pub(super) fn remains_of(
    select: sea_orm::Select<upload_session::Entity>,
) -> sea_orm::Selector<sea_orm::SelectGetableTuple<Remains>> {
    let columns = [
        upload_session::Column::Id,
        upload_session::Column::FileId,
        upload_session::Column::StorageUploadId,
        upload_session::Column::StatusReason,
    ];
    select.select_only().columns(columns).into_tuple()
}

/// A session of which only its ids and its reason are true: enough to free its bytes. Without a reason that can be read,
/// only its parts may go, as if they were lost: a complete file may be all that is left.
pub(super) fn session_of((id, file_id, storage_upload_id, reason): Remains, now: Timestamp) -> Result<Session> {
    let unknown = |column| rows::CorruptRow::new("upload_session", id, column);
    Ok(Session {
        id: SessionId(id),
        file_id: FileId(file_id),
        owner: OwnerName::parse("unknown").ok_or_else(|| unknown("owner"))?,
        status: SessionStatus::Aborted,
        status_reason: Some(reason.as_deref().and_then(StatusReason::parse).unwrap_or(StatusReason::BytesLost)),
        plan: PartPlan::new(0, 1).map_err(|_| unknown("chunk_size_bytes"))?,
        received: PartSet::new(),
        bytes_received: 0,
        version: 0,
        idempotency_key: None,
        declared_sha256: None,
        storage_upload_id,
        expires_at: now,
        created_at: now,
        updated_at: now,
    })
}

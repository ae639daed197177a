//! Invalid rows.
//!
//! Owns two things. It converts the rows of a page one by one, so that one invalid row does not make the whole page
//! fail. And it ends a session with an invalid row, or deletes its file, by using only the columns that locate its bytes. Does not decide
//! which values are valid: that is `rows`.

use entity::{upload_file, upload_session};
use sea_orm::{
    ActiveValue::Set,
    Condition, ConnectionTrait, EntityTrait, FromQueryResult, PaginatorTrait, QueryFilter, QueryResult, QuerySelect,
    QueryTrait,
    sea_query::{Expr, ExprTrait},
};
use uuid::Uuid;

use super::{
    Connection, Db, Result, Transaction, accounts,
    error::{retry_transaction, retry_transient},
    events, rows,
    sessions::{ENDED, missing_row, upload},
};
use crate::domain::{
    Event, FileId, FileRecord, FileStatus, MultipartUpload, OwnerName, PartPlan, PartSet, Session, SessionId,
    SessionStatus, StatusReason, Timestamp, Upload, Usage,
};

/// The prefixes that sea-orm gives to the columns of the session and of the file in a join.
const SESSION: &str = "A_";
const FILE: &str = "B_";

/// The columns that locate a session's bytes (id, file id, upload id), and its status reason and whether its file was deleted,
/// which decide which bytes are freed.
pub(super) type BytesColumns = (Uuid, Uuid, Option<String>, Option<String>, bool);

/// The result of ending a session with an invalid row.
#[derive(Debug)]
pub enum EndedUnreadable {
    /// The session has ended, now or before, and its bytes must be freed. Only the ids in this value come from the row.
    WithoutFile(Box<Session>),
    /// The session is complete. Nothing changed. Only the ids and the status in this value are meaningful.
    Complete(Box<Session>),
    /// The owner has no session with this id.
    Unknown,
}

impl Db {
    /// Ends a session whose row, or whose file's row, is invalid. Writes only the columns that record the end.
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
        let Some(session) = located(&tx, owner, id, now).await? else { return Ok(EndedUnreadable::Unknown) };
        tx.changes(id);
        // The session's status may be damaged, so this checks the file's row: the owner must not lose a complete file.
        let complete = upload_file::Entity::find_by_id(session.file_id.0).filter(
            Condition::any()
                .add(upload_file::COLUMN.status.eq(FileStatus::Stored.as_str()))
                .add(upload_file::COLUMN.location.is_not_null()),
        );
        if complete.count(&tx).await? > 0 {
            return Ok(EndedUnreadable::Complete(Box::new(Session {
                status: SessionStatus::Complete,
                status_reason: None,
                ..session
            })));
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
            // The file's row may be missing.
            upload_file::Entity::update_many()
                .set(upload_file::ActiveModel {
                    status: Set(FileStatus::Failed.as_str().to_owned()),
                    updated_at: Set(now),
                    ..Default::default()
                })
                .filter(upload_file::COLUMN.id.eq(session.file_id.0))
                .exec(&tx)
                .await?;
            if let Some((owner, size_bytes)) = charged(&tx, &session).await? {
                let event = Event::of_unreadable(Some(reason), owner.clone(), (session.id, session.file_id), now);
                events::insert(&tx, &event).await?;
                accounts::change(&tx, &owner, Usage { bytes: -size_bytes, open_sessions: -1 }).await?;
            }
            tx.commit().await?;
            return Ok(EndedUnreadable::WithoutFile(Box::new(session)));
        }
        Ok(EndedUnreadable::WithoutFile(Box::new(session)))
    }
}

impl Db {
    /// Deletes a stored file whose row, or whose session's row, is invalid. Writes only the columns that record the deletion.
    /// Returns the session, of which only the ids come from the row; `None` if the owner has no such stored file. If it was deleted
    /// before, changes nothing.
    pub async fn delete_unreadable(
        &self,
        owner: Option<&OwnerName>,
        id: SessionId,
        now: Timestamp,
    ) -> Result<Option<Session>> {
        retry_transaction(|| self.try_delete_unreadable(owner, id, now)).await
    }

    async fn try_delete_unreadable(
        &self,
        owner: Option<&OwnerName>,
        id: SessionId,
        now: Timestamp,
    ) -> Result<Option<Session>> {
        let tx = self.begin(owner).await?;
        let Some(session) = located(&tx, owner, id, now).await? else { return Ok(None) };
        tx.changes(id);
        let file = upload_file::Entity::find_by_id(session.file_id.0);
        let status =
            file.select_only().column(upload_file::Column::Status).into_tuple::<String>().all(&tx).await?.pop();
        let is = |status: &str, wanted: FileStatus| status == wanted.as_str();
        match status.as_deref() {
            Some(status) if is(status, FileStatus::Deleted) => {
                return Ok(Some(Session { file_deleted: true, ..session }));
            }
            Some(status) if is(status, FileStatus::Uploading) || is(status, FileStatus::Failed) => return Ok(None),
            // It is stored, or its status is the invalid value.
            Some(_) => {}
            None => return Ok(None),
        }
        upload_file::Entity::update_many()
            .set(upload_file::ActiveModel {
                status: Set(FileStatus::Deleted.as_str().to_owned()),
                location: Set(None),
                updated_at: Set(now),
                ..Default::default()
            })
            .filter(upload_file::COLUMN.id.eq(session.file_id.0))
            .exec(&tx)
            .await?;
        upload_session::Entity::update_many()
            .set(upload_session::ActiveModel { file_deleted: Set(true), updated_at: Set(now), ..Default::default() })
            .col_expr(upload_session::Column::Version, Expr::col(upload_session::Column::Version).add(1))
            .filter(upload_session::COLUMN.id.eq(id.0))
            .exec(&tx)
            .await?;
        if let Some((owner, size_bytes)) = charged(&tx, &session).await? {
            let ids = (session.id, session.file_id);
            events::insert(&tx, &Event::of_unreadable(None, owner.clone(), ids, now)).await?;
            accounts::change(&tx, &owner, Usage { bytes: -size_bytes, open_sessions: 0 }).await?;
        }
        tx.commit().await?;
        Ok(Some(Session { file_deleted: true, ..session }))
    }
}

/// The session, of which only the columns that locate its bytes are read. `None` if the owner, if there is one, has no such session.
async fn located(
    tx: &Transaction,
    owner: Option<&OwnerName>,
    id: SessionId,
    now: Timestamp,
) -> Result<Option<Session>> {
    let mut own = upload_session::Entity::find_by_id(id.0);
    if let Some(owner) = owner {
        own = own.filter(upload_session::COLUMN.owner.eq(owner.as_str()));
    }
    bytes_columns_of(own).all(tx).await?.pop().map(|columns| session_of(columns, now)).transpose()
}

/// The owner of an upload with an invalid row, and the size that its account counts. `None` if the owner's name is invalid. A
/// size that is invalid counts as 0: `partway check` then reports the account.
async fn charged(tx: &Transaction, session: &Session) -> Result<Option<(OwnerName, i64)>> {
    let owner = upload_session::Entity::find_by_id(session.id.0).select_only().column(upload_session::Column::Owner);
    let owner = owner.into_tuple::<String>().all(tx).await?.pop();
    let size = upload_file::Entity::find_by_id(session.file_id.0).select_only().column(upload_file::Column::SizeBytes);
    let size = size.into_tuple::<i64>().all(tx).await.ok().and_then(|mut sizes| sizes.pop());
    let owner = owner.and_then(|name| OwnerName::parse(&name));
    Ok(owner.map(|owner| (owner, size.filter(|size| *size > 0).unwrap_or_default())))
}

/// A select of sessions with their files.
type Joined = sea_orm::SelectTwo<upload_session::Entity, upload_file::Entity>;

/// Converts each row on its own. Returns the results with their session ids. Leaves out a row whose id is invalid.
pub(super) async fn read_each(connection: &Connection, select: &Joined) -> Result<Vec<(SessionId, Result<Upload>)>> {
    let read = |row: &QueryResult| {
        let session = upload_session::Model::from_query_result(row, SESSION)?;
        upload((session, upload_file::Model::from_query_result_optional(row, FILE)?))
    };
    each_joined(connection, select, read).await
}

/// The same for a select that has only the id of each session, and its file.
pub(super) async fn read_each_file(
    connection: &Connection,
    select: &Joined,
) -> Result<Vec<(SessionId, Result<FileRecord>)>> {
    let read = |row: &QueryResult| {
        let file = upload_file::Model::from_query_result_optional(row, FILE)?;
        Ok(rows::file(file.ok_or_else(|| missing_row("upload_file"))?)?)
    };
    each_joined(connection, select, read).await
}

async fn each_joined<T>(
    connection: &Connection,
    select: &Joined,
    read: impl Fn(&QueryResult) -> Result<T>,
) -> Result<Vec<(SessionId, Result<T>)>> {
    let statement = select.build(connection.get_database_backend());
    let found = retry_transient(|| connection.query_all_raw(statement.clone())).await?;
    Ok(found.iter().filter_map(|row| Some((SessionId(row.try_get(SESSION, "id").ok()?), read(row)))).collect())
}

/// Converts each row on its own. Returns the results with the rows' ids. Leaves out a row whose id is invalid.
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

pub(super) fn bytes_columns_of(
    select: sea_orm::Select<upload_session::Entity>,
) -> sea_orm::Selector<sea_orm::SelectGetableTuple<BytesColumns>> {
    let columns = [
        upload_session::Column::Id,
        upload_session::Column::FileId,
        upload_session::Column::StorageUploadId,
        upload_session::Column::StatusReason,
        upload_session::Column::FileDeleted,
    ];
    select.select_only().columns(columns).into_tuple()
}

/// A session of which only the ids and the reason come from the row. They are enough to free its bytes. An invalid
/// reason becomes `bytes_lost`: the server then frees only the parts and keeps a complete file, which may be the only
/// remaining copy.
pub(super) fn session_of(columns: BytesColumns, now: Timestamp) -> Result<Session> {
    let (id, file_id, storage_upload_id, reason, file_deleted) = columns;
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
        append_offset: 0,
        tail: None,
        auto_finalize: false,
        file_deleted,
        keeps_part_records: true,
        version: 0,
        idempotency_key: None,
        declared_sha256: None,
        declared_crc64nvme: None,
        storage_upload: storage_upload_id.map(|id| MultipartUpload { id, checks_crc64: false }),
        expires_at: now,
        created_at: now,
        updated_at: now,
    })
}

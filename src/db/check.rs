//! Statements of `partway check`: rows that are invalid or contradict each other.
//!
//! Owns the comparison of each session's received set and counters with its part rows, and of the session with its
//! file's row. Checks one session at a time, so that a damaged row does not hide the others. Does not read stored
//! bytes, and repairs nothing: that is `service/check`.

use entity::{upload_file, upload_session};
use sea_orm::{
    ColumnTrait, ConnectionTrait, DbBackend, EntityTrait, IsolationLevel, Order, QueryFilter, QueryOrder, QuerySelect,
    Statement, TransactionOptions, sea_query::Expr,
};
use uuid::Uuid;

use super::{Db, Error, Result, Transaction, rows};
use crate::domain::{FileId, FileRecord, FileStatus, PartSet, Session, SessionId, SessionStatus, Tail, Upload};

/// An upload whose rows are consistent.
#[derive(Debug)]
pub struct CheckedUpload {
    /// The session and its file.
    pub upload: Upload,
    /// Whether the session's row says that its bytes are freed.
    pub is_freed: bool,
}

/// The number of ids in one statement.
const PAGE: u64 = 1_000;

impl Db {
    /// The damage that SQLite finds in the database's pages and indexes. Empty on PostgreSQL, which checks a page when
    /// it reads it.
    pub async fn integrity_problems(&self) -> Result<Vec<String>> {
        if self.read.get_database_backend() != DbBackend::Sqlite {
            return Ok(Vec::new());
        }
        let statement = Statement::from_string(DbBackend::Sqlite, "PRAGMA integrity_check");
        let rows = self.read.query_all_raw(statement).await?;
        let lines = rows.iter().map(|row| row.try_get_by_index(0)).collect::<Result<Vec<String>, _>>()?;
        Ok(lines.into_iter().filter(|line| line != "ok").collect())
    }

    /// The ids of all sessions, ascending. Also returns an error if some rows are unreadable; the list then lacks their
    /// ids.
    pub async fn session_ids(&self) -> (Vec<SessionId>, Option<Error>) {
        let (ids, error) = self.ids::<upload_session::Entity>(upload_session::Column::Id).await;
        (ids.into_iter().map(SessionId).collect(), error)
    }

    /// The ids of all files, ascending. Also returns an error if some rows are unreadable; the list then lacks their
    /// ids.
    pub async fn file_ids(&self) -> (Vec<FileId>, Option<Error>) {
        let (ids, error) = self.ids::<upload_file::Entity>(upload_file::Column::Id).await;
        (ids.into_iter().map(FileId).collect(), error)
    }

    /// Reads the ids upwards. If that fails, also reads downwards from the last one, so that only the ids from the first
    /// damaged place to the last are missing.
    async fn ids<E: EntityTrait>(&self, id: E::Column) -> (Vec<Uuid>, Option<Error>) {
        let mut ids = Vec::new();
        let error = loop {
            match self.id_page::<E>(id, ids.last().map(|last| id.gt(*last)), Order::Asc).await {
                Ok(page) if page.is_empty() => return (ids, None),
                Ok(page) => ids.extend(page),
                Err(error) => break error,
            }
        };
        let (last_read, mut from_end) = (ids.last().copied(), Vec::new());
        while let Ok(page) = self.id_page::<E>(id, from_end.last().map(|last| id.lt(*last)), Order::Desc).await {
            let before = from_end.len();
            from_end.extend(page.into_iter().take_while(|id| last_read.is_none_or(|last| *id > last)));
            if from_end.len() == before {
                break;
            }
        }
        ids.extend(from_end.into_iter().rev());
        (ids, Some(error))
    }

    async fn id_page<E: EntityTrait>(&self, id: E::Column, bound: Option<Expr>, order: Order) -> Result<Vec<Uuid>> {
        let mut select = E::find().select_only().column(id);
        if let Some(bound) = bound {
            select = select.filter(bound);
        }
        Ok(select.order_by(id, order).limit(PAGE).into_tuple().all(&self.read).await?)
    }

    /// The number of bytes that a comparison of all digests reads.
    pub async fn bytes_to_compare(&self) -> Result<u64> {
        let sum = |column: &'static str| Expr::cust(format!("CAST(SUM({column}) AS BIGINT)"));
        let stored = upload_file::Entity::find().filter(upload_file::COLUMN.status.eq(FileStatus::Stored.as_str()));
        let stored = stored.select_only().column_as(sum("size_bytes"), "total").into_tuple::<Option<i64>>();
        let open = upload_session::Entity::find()
            .filter(upload_session::COLUMN.status.eq(SessionStatus::InProgress.as_str()))
            .select_only()
            .column_as(sum("bytes_received"), "total")
            .into_tuple::<Option<i64>>();
        let totals = [stored.all(&self.read).await?, open.all(&self.read).await?].concat();
        Ok(totals.into_iter().flatten().filter_map(|total| u64::try_from(total).ok()).sum())
    }

    /// A transaction in which all statements see the same state of the database. On SQLite every transaction has this
    /// property.
    pub(super) async fn snapshot(&self) -> Result<Transaction> {
        let isolation_level = match self.read.get_database_backend() {
            DbBackend::Postgres => Some(IsolationLevel::RepeatableRead),
            _ => None,
        };
        Ok(self.read.begin(TransactionOptions { isolation_level, ..Default::default() }).await?)
    }

    /// A session with its file, or a description of what is wrong with their rows. Reads all rows in one transaction. A
    /// part that is recorded at the same time is in all counts or in none.
    pub async fn check_session(&self, id: SessionId) -> Result<Result<CheckedUpload, String>> {
        let tx = self.snapshot().await?;
        let Some(row) = super::at_most_one(upload_session::Entity::find_by_id(id.0), &tx).await? else {
            return Ok(Err("its row is gone".to_owned()));
        };
        let (completed, is_freed) = (row.completed_parts, row.bytes_freed);
        let session = match rows::session(row) {
            Ok(session) => session,
            Err(corrupt) => return Ok(Err(corrupt.to_string())),
        };
        let file =
            match super::at_most_one(upload_file::Entity::find_by_id(session.file_id.0), &tx).await?.map(rows::file) {
                Some(Ok(file)) => file,
                Some(Err(corrupt)) => return Ok(Err(corrupt.to_string())),
                None => return Ok(Err("its file has no row".to_owned())),
            };
        let (numbers, bytes) = match parts(&tx, &session).await? {
            Ok(counted) => counted,
            Err(problem) => return Ok(Err(problem)),
        };
        let expected = match session.status {
            SessionStatus::Complete if session.file_deleted => FileStatus::Deleted,
            SessionStatus::Complete => FileStatus::Stored,
            SessionStatus::Failed | SessionStatus::Aborted => FileStatus::Failed,
            SessionStatus::Init | SessionStatus::InProgress => FileStatus::Uploading,
        };
        let source = if session.keeps_part_records { "there are rows for" } else { "its plan has" };
        Ok(if numbers != session.received {
            Err(format!("received parts are {}, but {source} {numbers}", session.received))
        } else if completed != i64::from(numbers.len()) {
            Err(format!("{completed} parts are counted, but {source} {}", numbers.len()))
        } else if bytes != session.bytes_received {
            Err(format!("{} bytes are counted, but its parts have {bytes}", session.bytes_received))
        } else if session.status.is_open() && !session.keeps_part_records {
            Err("it is open, but its part rows are not kept".to_owned())
        } else if session.file_deleted && session.status != SessionStatus::Complete {
            Err(format!("it is {}, but its file is deleted", session.status.as_str()))
        } else if let Some(problem) = tail_problem(&session) {
            Err(problem)
        } else if file.status != expected || file.location.is_some() != (expected == FileStatus::Stored) {
            Err(format!("the session is {}, but its file is {}", session.status.as_str(), file.status.as_str()))
        } else {
            Ok(CheckedUpload { upload: Upload { session, file }, is_freed })
        })
    }

    /// A file, or a description of what is wrong with its row.
    pub async fn check_file(&self, id: FileId) -> Result<Result<FileRecord, String>> {
        let row = super::at_most_one(upload_file::Entity::find_by_id(id.0), &self.read).await?;
        Ok(match row.map(rows::file) {
            Some(file) => file.map_err(|corrupt| corrupt.to_string()),
            None => Err("its row is gone".to_owned()),
        })
    }
}

/// The numbers and the bytes of a session's parts, from their rows. If the rows are not kept, from the received set and the plan.
async fn parts(tx: &Transaction, session: &Session) -> Result<Result<(PartSet, u64), String>> {
    let (mut numbers, mut bytes) = (PartSet::new(), 0);
    if !session.keeps_part_records {
        for part in session.received.numbers_after(0).filter_map(|number| session.plan.part(number)) {
            numbers.insert(part.number);
            bytes += part.size_bytes;
        }
        return Ok(Ok((numbers, bytes)));
    }
    for row in super::parts::of_session(session.id).all(tx).await? {
        match rows::part(&row, &session.plan) {
            Ok(record) => {
                numbers.insert(record.part.number);
                bytes += record.part.size_bytes;
            }
            Err(corrupt) => return Ok(Err(corrupt.to_string())),
        }
    }
    Ok(Ok((numbers, bytes)))
}

/// What contradicts the invariants of [`crate::domain::Tail`].
fn tail_problem(session: &Session) -> Option<String> {
    let Session { received, append_offset, .. } = session;
    let follows_prefix = |tail: &Tail| tail.part.number == received.prefix_len() + 1;
    match &session.tail {
        Some(tail) if !follows_prefix(tail) => {
            Some(format!("part {} has a tail, but the received parts are {received}", tail.part.number))
        }
        _ if session.contiguous_bytes() < *append_offset => {
            Some(format!("appends go on at {append_offset}, but the received parts are {received}"))
        }
        _ => None,
    }
}

//! Statements over sessions.
//!
//! Owns the transactions in which a session changes. Every read takes the owner, so that no query can forget whose rows
//! it may see.

use std::collections::HashMap;

use entity::{upload_file, upload_part, upload_session};
use sea_orm::{
    ActiveModelTrait, DatabaseTransaction, EntityTrait, PaginatorTrait, QueryFilter, QueryOrder, QuerySelect,
    sea_query::OnConflict,
};

use super::{Db, Result, rows};
use crate::domain::{FileId, FileRecord, OwnerName, PartRecord, Session, SessionId, SessionStatus, Timestamp};

const OPEN: [&str; 2] = [SessionStatus::Init.as_str(), SessionStatus::InProgress.as_str()];
const ENDED_WITHOUT_FILE: [&str; 2] = [SessionStatus::Failed.as_str(), SessionStatus::Aborted.as_str()];

/// A session and its file, to be created together.
#[derive(Debug)]
pub struct NewSession {
    /// The session.
    pub session: Session,
    /// Its file.
    pub file: FileRecord,
}

/// What became of a [`NewSession`].
#[derive(Debug)]
pub enum Created {
    /// It was inserted.
    New,
    /// The owner has a session with this idempotency key; nothing was inserted.
    KeyTaken(Box<(Session, FileRecord)>),
    /// The owner has as many open sessions as allowed; nothing was inserted.
    TooManyOpen,
}

/// What became of a part that was to be recorded.
#[derive(Debug)]
pub enum Recorded {
    /// It was recorded; the session as it is now.
    New(Box<Session>),
    /// It had been recorded before; nothing changed.
    Before(Box<Session>, PartRecord),
    /// The session has ended; nothing changed.
    Closed(Box<Session>),
}

/// Which of an owner's sessions to list.
#[derive(Clone, Copy, Debug, Default)]
pub struct ListFilter {
    /// Only those with this status.
    pub status: Option<SessionStatus>,
    /// Only those older than this one.
    pub older_than: Option<SessionId>,
    /// Only those newer than this one.
    pub newer_than: Option<SessionId>,
    /// Count from the oldest instead of the newest. The page itself is newest first all the same.
    pub from_oldest: bool,
    /// At most so many.
    pub limit: u64,
}

/// Some of an owner's sessions, newest first, with their files.
#[derive(Debug)]
pub struct SessionPage {
    /// The sessions.
    pub sessions: Vec<(Session, FileRecord)>,
    /// Whether there are more in the direction of counting.
    pub has_more: bool,
}

impl Db {
    /// Creates a session and its file, unless the key is taken or the owner has `max_open` open sessions.
    pub async fn create_session(&self, new: &NewSession, max_open: u64) -> Result<Created> {
        let tx = self.begin().await?;
        let owner = &new.session.owner;
        if let Some(key) = &new.session.idempotency_key {
            let taken = joined()
                .filter(upload_session::COLUMN.owner.eq(owner.as_str()))
                .filter(upload_session::COLUMN.idempotency_key.eq(key.as_str()));
            if let Some(found) = taken.one(&tx).await? {
                return Ok(Created::KeyTaken(Box::new(with_file(found)?)));
            }
        }
        let open = upload_session::Entity::find()
            .filter(upload_session::COLUMN.owner.eq(owner.as_str()))
            .filter(upload_session::COLUMN.status.is_in(OPEN))
            .count(&tx)
            .await?;
        if open >= max_open {
            return Ok(Created::TooManyOpen);
        }
        upload_file::Entity::insert(rows::file_row(&new.file)).exec_without_returning(&tx).await?;
        upload_session::Entity::insert(rows::session_row(&new.session)).exec_without_returning(&tx).await?;
        tx.commit().await?;
        Ok(Created::New)
    }

    /// The owner's session with this id. One row of one table, whatever the number of parts.
    pub async fn session(&self, owner: &OwnerName, id: SessionId) -> Result<Option<Session>> {
        let row = owned(owner).filter(upload_session::COLUMN.id.eq(id.0)).one(&self.read).await?;
        Ok(row.map(rows::session).transpose()?)
    }

    /// The owner's session with this id, and its file, in one statement.
    pub async fn session_with_file(&self, owner: &OwnerName, id: SessionId) -> Result<Option<(Session, FileRecord)>> {
        let found = joined()
            .filter(upload_session::COLUMN.id.eq(id.0))
            .filter(upload_session::COLUMN.owner.eq(owner.as_str()))
            .one(&self.read)
            .await?;
        found.map(with_file).transpose()
    }

    /// Those of the owner's sessions that have one of these ids, in one statement.
    pub async fn sessions(&self, owner: &OwnerName, ids: &[SessionId]) -> Result<HashMap<SessionId, Session>> {
        let ids = ids.iter().map(|id| id.0);
        let found = owned(owner).filter(upload_session::COLUMN.id.is_in(ids)).all(&self.read).await?;
        found.into_iter().map(|row| Ok((SessionId(row.id), rows::session(row)?))).collect()
    }

    /// A page of the owner's sessions, with their files, in one statement.
    pub async fn list_sessions(&self, owner: &OwnerName, filter: &ListFilter) -> Result<SessionPage> {
        let mut select = joined().filter(upload_session::COLUMN.owner.eq(owner.as_str())).limit(filter.limit + 1);
        if let Some(status) = filter.status {
            select = select.filter(upload_session::COLUMN.status.eq(status.as_str()));
        }
        if let Some(id) = filter.older_than {
            select = select.filter(upload_session::COLUMN.id.lt(id.0));
        }
        if let Some(id) = filter.newer_than {
            select = select.filter(upload_session::COLUMN.id.gt(id.0));
        }
        let id = upload_session::COLUMN.id;
        let select = if filter.from_oldest { select.order_by_asc(id) } else { select.order_by_desc(id) };
        let mut sessions = select.all(&self.read).await?.into_iter().map(with_file).collect::<Result<Vec<_>>>()?;
        let has_more = sessions.len() as u64 > filter.limit;
        sessions.truncate(usize::try_from(filter.limit).unwrap_or(usize::MAX));
        if filter.from_oldest {
            sessions.reverse();
        }
        Ok(SessionPage { sessions, has_more })
    }

    /// Records that a part is durable: its row, and the session as `record` leaves it, in one transaction. The
    /// session's row is locked for this alone, never for a body.
    pub async fn record_part(
        &self,
        id: SessionId,
        part: &PartRecord,
        record: impl FnOnce(&mut Session) -> bool,
    ) -> Result<Recorded> {
        let tx = self.begin().await?;
        let inserted = upload_part::Entity::insert(rows::part_row(id, part))
            .on_conflict(OnConflict::new().do_nothing().to_owned())
            .exec_without_returning(&tx)
            .await?;
        let mut session = locked_session(&tx, id).await?;
        if inserted == 0 {
            let key = (id.0, i64::from(part.part.number));
            let row = upload_part::Entity::find_by_id(key).one(&tx).await?.ok_or_else(|| gone("upload_part"))?;
            let before = rows::part(&row, &session.plan)?;
            return Ok(Recorded::Before(Box::new(session), before));
        }
        if !record(&mut session) {
            // Dropped without a commit: the part's row goes too.
            return Ok(Recorded::Closed(Box::new(session)));
        }
        rows::session_moves(&session).update(&tx).await?;
        tx.commit().await?;
        Ok(Recorded::New(Box::new(session)))
    }

    /// Lets `change` move the session and its file, and keeps what it did unless it returns false.
    pub async fn change_session(
        &self,
        id: SessionId,
        change: impl FnOnce(&mut Session, &mut FileRecord) -> bool,
    ) -> Result<(Session, FileRecord)> {
        let tx = self.begin().await?;
        let mut session = locked_session(&tx, id).await?;
        let row = upload_file::Entity::find_by_id(session.file_id.0).one(&tx).await?;
        let mut file = rows::file(row.ok_or_else(|| gone("upload_file"))?)?;
        if change(&mut session, &mut file) {
            rows::session_moves(&session).update(&tx).await?;
            rows::file_row(&file).update(&tx).await?;
            tx.commit().await?;
        }
        Ok((session, file))
    }

    /// Open sessions that should have been touched before `now`, the longest overdue first.
    pub async fn expired_sessions(&self, now: Timestamp, limit: u64) -> Result<Vec<SessionId>> {
        let found = upload_session::Entity::find()
            .filter(upload_session::COLUMN.status.is_in(OPEN))
            .filter(upload_session::COLUMN.expires_at.lte(now))
            .order_by_asc(upload_session::COLUMN.expires_at)
            .limit(limit)
            .all(&self.read)
            .await?;
        Ok(found.into_iter().map(|row| SessionId(row.id)).collect())
    }

    /// Sessions that ended without a file and whose bytes may still be there.
    pub async fn sessions_to_free(&self, limit: u64) -> Result<Vec<(SessionId, FileId)>> {
        let found = upload_session::Entity::find()
            .filter(upload_session::COLUMN.status.is_in(ENDED_WITHOUT_FILE))
            .filter(upload_session::COLUMN.bytes_freed.eq(false))
            .limit(limit)
            .all(&self.read)
            .await?;
        Ok(found.into_iter().map(|row| (SessionId(row.id), FileId(row.file_id))).collect())
    }

    /// Notes that the bytes of a session that ended without a file are gone.
    pub async fn mark_freed(&self, id: SessionId) -> Result<()> {
        let freed = upload_session::ActiveModel {
            id: sea_orm::ActiveValue::Unchanged(id.0),
            bytes_freed: sea_orm::ActiveValue::Set(true),
            ..Default::default()
        };
        freed.update_without_returning(&self.write).await?;
        Ok(())
    }

    /// Which of these ids belong to open sessions, whoever owns them.
    pub async fn open_sessions_among(&self, ids: &[SessionId]) -> Result<Vec<SessionId>> {
        let found = upload_session::Entity::find()
            .filter(upload_session::COLUMN.id.is_in(ids.iter().map(|id| id.0)))
            .filter(upload_session::COLUMN.status.is_in(OPEN))
            .all(&self.read)
            .await?;
        Ok(found.into_iter().map(|row| SessionId(row.id)).collect())
    }
}

fn owned(owner: &OwnerName) -> sea_orm::Select<upload_session::Entity> {
    upload_session::Entity::find().filter(upload_session::COLUMN.owner.eq(owner.as_str()))
}

type Joined = (upload_session::Model, Option<upload_file::Model>);

fn joined() -> sea_orm::SelectTwo<upload_session::Entity, upload_file::Entity> {
    upload_session::Entity::find().find_also_related(upload_file::Entity)
}

fn with_file((session, file): Joined) -> Result<(Session, FileRecord)> {
    let file = file.ok_or_else(|| gone("upload_file"))?;
    Ok((rows::session(session)?, rows::file(file)?))
}

async fn locked_session(tx: &DatabaseTransaction, id: SessionId) -> Result<Session> {
    let row = upload_session::Entity::find_by_id(id.0).lock_exclusive().one(tx).await?;
    Ok(rows::session(row.ok_or_else(|| gone("upload_session"))?)?)
}

/// A row that a foreign key or an earlier read promised.
fn gone(table: &str) -> sea_orm::DbErr {
    sea_orm::DbErr::RecordNotFound(format!("{table}: a row that must be there is not"))
}

//! Statements over sessions.
//!
//! Owns the transactions in which a session changes. Every read takes the owner, so that no query can forget whose rows
//! it may see.

use std::collections::{BTreeMap, HashMap};

use entity::{upload_file, upload_part, upload_session};
use sea_orm::{
    ActiveModelTrait, ActiveValue::Set, DatabaseTransaction, EntityTrait, Order, PaginatorTrait, QueryFilter,
    QueryOrder, QuerySelect, sea_query::LockType,
};

use super::{Db, PartClaim, Result, again, changes, only, rows};
use crate::domain::{FileRecord, OwnerName, PartRecord, Session, SessionId, SessionStatus};

pub(super) const OPEN: [&str; 2] = [SessionStatus::Init.as_str(), SessionStatus::InProgress.as_str()];

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

/// A part that is durable and to be recorded.
#[derive(Debug)]
pub struct NewPart {
    /// Its session.
    pub session: SessionId,
    /// The part.
    pub part: PartRecord,
    /// The claim under which it was put, where storage is shared.
    pub claim: Option<PartClaim>,
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
    /// The claim on the part lapsed and somebody else has it; nothing changed.
    ClaimLost,
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
    /// Creates a session and its file, unless the key is taken or the owner has `max_open` open sessions. On PostgreSQL,
    /// creates at the same moment can exceed that by as many.
    pub async fn create_session(&self, new: &NewSession, max_open: u64) -> Result<Created> {
        match self.try_create_session(new, max_open).await {
            // Another server took the key since this one looked; it is there now.
            Err(error) if error.is_duplicate() => self.try_create_session(new, max_open).await,
            done => done,
        }
    }

    async fn try_create_session(&self, new: &NewSession, max_open: u64) -> Result<Created> {
        let tx = self.begin().await?;
        let owner = &new.session.owner;
        if let Some(key) = &new.session.idempotency_key {
            let taken = joined()
                .filter(upload_session::COLUMN.owner.eq(owner.as_str()))
                .filter(upload_session::COLUMN.idempotency_key.eq(key.as_str()));
            if let Some(found) = taken.all(&tx).await?.pop() {
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

    /// Those of the owner's sessions that have one of these ids, in one statement.
    pub async fn sessions(&self, owner: &OwnerName, ids: &[SessionId]) -> Result<HashMap<SessionId, Session>> {
        if let [id] = ids {
            return Ok(self.session(owner, *id).await?.into_iter().map(|session| (*id, session)).collect());
        }
        let ids = ids.iter().map(|id| id.0);
        let wanted = owned(owner).filter(upload_session::COLUMN.id.is_in(ids));
        let found = again(|| wanted.clone().all(&self.read)).await?;
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
        // By owner too, although there is one: SQLite takes the index only for all of its columns.
        let order = if filter.from_oldest { Order::Asc } else { Order::Desc };
        let select =
            select.order_by(upload_session::COLUMN.owner, order.clone()).order_by(upload_session::COLUMN.id, order);
        let found = again(|| select.clone().all(&self.read)).await?;
        let mut sessions = found.into_iter().map(with_file).collect::<Result<Vec<_>>>()?;
        let has_more = sessions.len() as u64 > filter.limit;
        sessions.truncate(usize::try_from(filter.limit).unwrap_or(usize::MAX));
        if filter.from_oldest {
            sessions.reverse();
        }
        Ok(SessionPage { sessions, has_more })
    }

    /// Records that parts are durable: their rows, and their sessions as `record` leaves them, in one transaction, which
    /// ends their claims too. What `record` refuses changes nothing. Answers one result for each part.
    pub async fn record_parts(
        &self,
        parts: &[NewPart],
        record: impl Fn(&mut Session, &PartRecord) -> bool + Sync,
    ) -> Result<Vec<Recorded>> {
        again(|| self.try_record_parts(parts, &record)).await
    }

    async fn try_record_parts(
        &self,
        parts: &[NewPart],
        record: &(impl Fn(&mut Session, &PartRecord) -> bool + Sync),
    ) -> Result<Vec<Recorded>> {
        // In one order, so that two servers that do this at once do not wait for each other crosswise.
        let mut by_session: BTreeMap<SessionId, Vec<usize>> = BTreeMap::new();
        for (at, part) in parts.iter().enumerate() {
            by_session.entry(part.session).or_default().push(at);
        }
        let tx = self.begin().await?;
        let mut recorded: Vec<Option<Recorded>> = parts.iter().map(|_| None).collect();
        for (id, members) in by_session {
            let mut session = locked_session(&tx, id).await?;
            let mut new = Vec::new();
            for &at in &members {
                let NewPart { part, claim, .. } = &parts[at];
                if session.received.contains(part.part.number) {
                    let key = (id.0, i64::from(part.part.number));
                    let row =
                        only(upload_part::Entity::find_by_id(key), &tx).await?.ok_or_else(|| gone("upload_part"))?;
                    let before = rows::part(&row, &session.plan)?;
                    // This very one, if its commit went through and only the answer was lost.
                    if before != *part {
                        recorded[at] = Some(Recorded::Before(Box::new(session.clone()), before));
                    }
                } else if let Some(claim) = claim
                    && !claim.delete(&tx).await?
                {
                    recorded[at] = Some(Recorded::ClaimLost);
                } else if !record(&mut session, part) {
                    recorded[at] = Some(Recorded::Closed(Box::new(session.clone())));
                } else {
                    new.push(rows::part_row(id, part));
                }
            }
            if !new.is_empty() {
                upload_part::Entity::insert_many(new).exec_without_returning(&tx).await?;
                rows::session_moves(&session).update_without_returning(&tx).await?;
                changes::notify(&tx, &session).await?;
            }
            for at in members {
                recorded[at].get_or_insert_with(|| Recorded::New(Box::new(session.clone())));
            }
        }
        tx.commit().await?;
        Ok(recorded.into_iter().flatten().collect())
    }

    /// Lets `change` move the session and its file, and keeps what it did unless it returns false. Answers that, too.
    pub async fn change_session(
        &self,
        id: SessionId,
        change: impl Fn(&mut Session, &mut FileRecord) -> bool + Sync,
    ) -> Result<(Session, FileRecord, bool)> {
        again(|| self.try_change_session(id, &change)).await
    }

    async fn try_change_session(
        &self,
        id: SessionId,
        change: &(impl Fn(&mut Session, &mut FileRecord) -> bool + Sync),
    ) -> Result<(Session, FileRecord, bool)> {
        let tx = self.begin().await?;
        let mut session = locked_session(&tx, id).await?;
        let row = only(upload_file::Entity::find_by_id(session.file_id.0), &tx).await?;
        let mut file = rows::file(row.ok_or_else(|| gone("upload_file"))?)?;
        let has_changed = change(&mut session, &mut file);
        if has_changed {
            rows::session_moves(&session).update_without_returning(&tx).await?;
            rows::file_row(&file).update_without_returning(&tx).await?;
            changes::notify(&tx, &session).await?;
            tx.commit().await?;
        }
        Ok((session, file, has_changed))
    }

    /// Keeps the object store's id of an open session's upload, unless there is one. Answers the one that is kept;
    /// `None` if the session has ended without one.
    pub async fn keep_upload_id(&self, id: SessionId, upload_id: &str) -> Result<Option<String>> {
        let keep = upload_session::Entity::update_many()
            .set(upload_session::ActiveModel {
                storage_upload_id: Set(Some(upload_id.to_owned())),
                ..Default::default()
            })
            .filter(upload_session::COLUMN.id.eq(id.0))
            .filter(upload_session::COLUMN.status.is_in(OPEN))
            .filter(upload_session::COLUMN.storage_upload_id.is_null());
        again(|| keep.clone().exec(&self.write)).await?;
        let row = again(|| only(upload_session::Entity::find_by_id(id.0), &self.write)).await?;
        Ok(row.ok_or_else(|| gone("upload_session"))?.storage_upload_id)
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
    // NO KEY: a part row's foreign key locks the session's key, and two that have that much must not wait for each other
    // to get more.
    let row = only(upload_session::Entity::find_by_id(id.0).lock(LockType::NoKeyUpdate), tx).await?;
    Ok(rows::session(row.ok_or_else(|| gone("upload_session"))?)?)
}

/// A row that a foreign key or an earlier read promised.
fn gone(table: &str) -> sea_orm::DbErr {
    sea_orm::DbErr::RecordNotFound(format!("{table}: a row that must be there is not"))
}

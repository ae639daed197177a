//! Statements over sessions.
//!
//! Owns the transactions in which a session changes. Every read takes the owner, so that no query can forget whose rows
//! it may see.

use std::collections::HashMap;

use entity::{upload_file, upload_session};
use sea_orm::{
    ActiveModelTrait,
    ActiveValue::Set,
    EntityTrait, PaginatorTrait, QueryFilter, QuerySelect,
    sea_query::{LockBehavior, LockType},
};

use super::{
    Db, Result, Transaction, at_most_one, changes,
    error::{retry_transaction, retry_transient, unless_locked},
    rows,
    unreadable::{each, read_each},
};
use crate::domain::{OwnerName, Session, SessionId, SessionStatus, Upload};

pub(super) const OPEN: [&str; 2] = [SessionStatus::Init.as_str(), SessionStatus::InProgress.as_str()];

pub(super) const ENDED: [&str; 3] =
    [SessionStatus::Complete.as_str(), SessionStatus::Failed.as_str(), SessionStatus::Aborted.as_str()];

/// What became of an upload that was to be created.
#[derive(Debug)]
pub enum Created {
    /// It was inserted.
    New,
    /// The owner has a session with this idempotency key; nothing was inserted.
    KeyTaken(Box<Upload>),
    /// The owner has as many open sessions as allowed; nothing was inserted.
    TooManyOpen,
}

impl Db {
    /// Creates an upload, unless the key is taken or the owner has `max_open` open sessions. On PostgreSQL, creates at the
    /// same moment can exceed that by as many.
    pub async fn create_upload(&self, new: &Upload, max_open: u64) -> Result<Created> {
        let create = || unless_locked(|| self.try_create_upload(new, max_open));
        match create().await {
            // Another server took the key since this one looked; it is there now.
            Err(error) if error.is_duplicate() => create().await,
            done => done,
        }
    }

    async fn try_create_upload(&self, new: &Upload, max_open: u64) -> Result<Created> {
        let owner = &new.session.owner;
        let tx = self.begin(Some(owner)).await?;
        if let Some(key) = &new.session.idempotency_key {
            let taken = joined()
                .filter(upload_session::COLUMN.owner.eq(owner.as_str()))
                .filter(upload_session::COLUMN.idempotency_key.eq(key.as_str()));
            if let Some(found) = taken.all(&tx).await?.pop() {
                return Ok(Created::KeyTaken(Box::new(upload(found)?)));
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
        upload_file::Entity::insert(rows::file_row(&new.file)?).exec_without_returning(&tx).await?;
        upload_session::Entity::insert(rows::session_row(new)?).exec_without_returning(&tx).await?;
        tx.commit().await?;
        Ok(Created::New)
    }

    /// Those of the owner's sessions that have one of these ids, in one statement. A row that cannot be read is an error of
    /// its own.
    pub async fn sessions(&self, owner: &OwnerName, ids: &[SessionId]) -> Result<HashMap<SessionId, Result<Session>>> {
        if let [id] = ids {
            return Ok(self.session(owner, *id).await?.into_iter().map(|session| (*id, Ok(session))).collect());
        }
        let ids = ids.iter().map(|id| id.0);
        let wanted = owned(owner).filter(upload_session::COLUMN.id.is_in(ids));
        let found = each(&self.read, &wanted, rows::session).await?;
        Ok(found.into_iter().map(|(id, read)| (SessionId(id), read)).collect())
    }

    /// The uploads of the owner's sessions with these ids, in one statement.
    pub async fn uploads(&self, owner: &OwnerName, ids: &[SessionId]) -> Result<HashMap<SessionId, Result<Upload>>> {
        if let [id] = ids {
            return Ok(self.upload(owner, *id).await?.into_iter().map(|found| (*id, Ok(found))).collect());
        }
        let wanted = joined()
            .filter(upload_session::COLUMN.owner.eq(owner.as_str()))
            .filter(upload_session::COLUMN.id.is_in(ids.iter().map(|id| id.0)));
        Ok(read_each(&self.read, &wanted).await?.into_iter().collect())
    }

    /// Lets `change` move the upload and stores the move, unless `change` returns false. Answers the upload and what
    /// `change` returned. Takes a turn of this owner, or the server's own turn.
    pub async fn change_upload(
        &self,
        owner: Option<&OwnerName>,
        id: SessionId,
        change: impl Fn(&mut Upload) -> bool + Sync,
    ) -> Result<(Upload, bool)> {
        retry_transaction(|| self.try_change_upload(owner, id, &change)).await
    }

    async fn try_change_upload(
        &self,
        owner: Option<&OwnerName>,
        id: SessionId,
        change: &(impl Fn(&mut Upload) -> bool + Sync),
    ) -> Result<(Upload, bool)> {
        let tx = self.begin(owner).await?;
        let session = locked_session(&tx, id).await?;
        let row = at_most_one(upload_file::Entity::find_by_id(session.file_id.0), &tx).await?;
        let file = rows::file(row.ok_or_else(|| gone("upload_file"))?)?;
        let mut upload = Upload { session, file };
        let has_changed = change(&mut upload);
        if has_changed {
            rows::session_moves(&upload.session)?.update_without_returning(&tx).await?;
            rows::file_row(&upload.file)?.update_without_returning(&tx).await?;
            changes::notify(&tx, &upload.session).await?;
            tx.commit().await?;
        }
        Ok((upload, has_changed))
    }

    /// Keeps the object store's id of an open session's upload, unless there is one. Answers the one that is kept;
    /// `None` if the session has ended without one.
    pub async fn keep_upload_id(&self, owner: &OwnerName, id: SessionId, upload_id: &str) -> Result<Option<String>> {
        let keep = upload_session::Entity::update_many()
            .set(upload_session::ActiveModel {
                storage_upload_id: Set(Some(upload_id.to_owned())),
                ..Default::default()
            })
            .filter(upload_session::COLUMN.id.eq(id.0))
            .filter(upload_session::COLUMN.status.is_in(OPEN))
            .filter(upload_session::COLUMN.storage_upload_id.is_null());
        let write = self.write.of(owner);
        retry_transient(|| keep.clone().exec(&write)).await?;
        let row = retry_transient(|| at_most_one(upload_session::Entity::find_by_id(id.0), &write)).await?;
        Ok(row.ok_or_else(|| gone("upload_session"))?.storage_upload_id)
    }
}

fn owned(owner: &OwnerName) -> sea_orm::Select<upload_session::Entity> {
    upload_session::Entity::find().filter(upload_session::COLUMN.owner.eq(owner.as_str()))
}

pub(super) type Joined = (upload_session::Model, Option<upload_file::Model>);

pub(super) fn joined() -> sea_orm::SelectTwo<upload_session::Entity, upload_file::Entity> {
    upload_session::Entity::find().find_also_related(upload_file::Entity)
}

pub(super) fn upload((session, file): Joined) -> Result<Upload> {
    let file = file.ok_or_else(|| gone("upload_file"))?;
    Ok(Upload { session: rows::session(session)?, file: rows::file(file)? })
}

/// The session, kept from other transactions until this one ends.
pub(super) async fn locked_session(tx: &Transaction, id: SessionId) -> Result<Session> {
    let found = locked(upload_session::Entity::find_by_id(id.0), LockBehavior::Nowait);
    let row = at_most_one(found, tx).await?;
    Ok(rows::session(row.ok_or_else(|| gone("upload_session"))?)?)
}

/// Nobody waits for a row on a connection that others need. NO KEY: inserting a part takes FOR KEY SHARE on its session, and
/// two transactions that have that much would wait for each other to get more.
pub(super) fn locked(
    select: sea_orm::Select<upload_session::Entity>,
    behavior: LockBehavior,
) -> sea_orm::Select<upload_session::Entity> {
    select.lock_with_behavior(LockType::NoKeyUpdate, behavior)
}

/// A row that a foreign key or an earlier read promised.
pub(super) fn gone(table: &str) -> sea_orm::DbErr {
    sea_orm::DbErr::RecordNotFound(format!("{table}: a row that must be there is not"))
}

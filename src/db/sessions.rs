//! Statements over sessions.
//!
//! Owns the transactions that change a session. Every read filters by owner, so no read returns the rows of another
//! owner. Does not own the rules of a change: those are in `domain::Upload`.

use std::collections::HashMap;

use entity::{upload_file, upload_session};
use sea_orm::{
    ActiveModelTrait,
    ActiveValue::Set,
    EntityTrait, QueryFilter, QuerySelect,
    sea_query::{LockBehavior, LockType},
};

use super::{
    Db, Result, Transaction, accounts, at_most_one, changes,
    error::{retry_locked, retry_transaction, retry_transient},
    events, rows, session_change,
    unreadable::{each, read_each},
};
use crate::domain::{
    Account, AccountLimits, Event, FileId, MultipartUpload, OwnerName, Session, SessionId, SessionStatus, Upload, Usage,
};

pub(super) const OPEN: [&str; 2] = [SessionStatus::Init.as_str(), SessionStatus::InProgress.as_str()];

pub(super) const ENDED: [&str; 3] =
    [SessionStatus::Complete.as_str(), SessionStatus::Failed.as_str(), SessionStatus::Aborted.as_str()];

/// The result of creating an upload.
#[derive(Debug)]
pub enum Created {
    /// The upload was inserted.
    New,
    /// The owner has a session with this idempotency key. Nothing was inserted.
    KeyTaken(Box<Upload>),
    /// A limit of the owner's account, which is as it was, forbids another upload of this size. Nothing was inserted.
    OverLimit(Box<Account>),
}

impl Db {
    /// Creates an upload, unless the owner already has a session with this idempotency key, or a limit of the owner's account
    /// forbids it. `defaults` are the limits of an owner without limits of their own.
    pub async fn create_upload(&self, new: &Upload, defaults: &AccountLimits) -> Result<Created> {
        let create = || retry_locked(|| self.try_create_upload(new, defaults));
        match create().await {
            // Another request inserted the key after this request's look-up. The second attempt finds that session.
            Err(error) if error.is_duplicate() => create().await,
            done => done,
        }
    }

    async fn try_create_upload(&self, new: &Upload, defaults: &AccountLimits) -> Result<Created> {
        let owner = &new.session.owner;
        let tx = self.begin(Some(owner)).await?;
        if let Some(key) = &new.session.idempotency_key
            && let Some(found) = with_key(owner, key).all(&tx).await?.pop()
        {
            return Ok(Created::KeyTaken(Box::new(upload(found)?)));
        }
        upload_file::Entity::insert(rows::file_row(&new.file)?).exec_without_returning(&tx).await?;
        upload_session::Entity::insert(rows::session_row(new)?).exec_without_returning(&tx).await?;
        changes::announce(&tx, &new.session).await?;
        let added = Usage::of(new.state(), new.file.size_bytes);
        if let Some(account) = accounts::admit(&tx, owner, added, defaults).await? {
            return Ok(Created::OverLimit(Box::new(account)));
        }
        tx.commit().await?;
        Ok(Created::New)
    }

    /// The owner's upload with this idempotency key.
    pub async fn upload_with_key(&self, owner: &OwnerName, key: &str) -> Result<Option<Upload>> {
        let found = retry_transient(|| with_key(owner, key).all(&self.read)).await?.pop();
        found.map(upload).transpose()
    }

    /// The id of the session that uploaded this file of the owner.
    pub async fn session_of_file(&self, owner: &OwnerName, file: FileId) -> Result<Option<SessionId>> {
        let wanted = owned(owner).filter(upload_session::COLUMN.file_id.eq(file.0));
        let wanted = wanted.select_only().column(upload_session::Column::Id);
        let ids = || wanted.clone().into_tuple::<uuid::Uuid>();
        Ok(retry_transient(|| ids().all(&self.read)).await?.pop().map(SessionId))
    }

    /// The owner's sessions with these ids, in one statement. If a row is invalid, only its own entry is an error.
    pub async fn sessions(&self, owner: &OwnerName, ids: &[SessionId]) -> Result<HashMap<SessionId, Result<Session>>> {
        if let [id] = ids {
            return Ok(self.session(owner, *id).await?.into_iter().map(|session| (*id, Ok(session))).collect());
        }
        let ids = ids.iter().map(|id| id.0);
        let wanted = owned(owner).filter(upload_session::COLUMN.id.is_in(ids));
        let found = each(&self.read, &wanted, rows::session).await?;
        Ok(found.into_iter().map(|(id, read)| (SessionId(id), read)).collect())
    }

    /// The owner's sessions with these ids, and their files, in one statement. If a row is invalid, only its own entry
    /// is an error.
    pub async fn uploads(&self, owner: &OwnerName, ids: &[SessionId]) -> Result<HashMap<SessionId, Result<Upload>>> {
        if let [id] = ids {
            return Ok(self.upload(owner, *id).await?.into_iter().map(|found| (*id, Ok(found))).collect());
        }
        let wanted = joined()
            .filter(upload_session::COLUMN.owner.eq(owner.as_str()))
            .filter(upload_session::COLUMN.id.is_in(ids.iter().map(|id| id.0)));
        Ok(read_each(&self.read, &wanted).await?.into_iter().collect())
    }

    /// Locks an upload, applies `change` and stores the upload, unless `change` returns false. If the change is an event,
    /// inserts it, and changes the owner's account. Returns the upload and what `change` returned. Waits for a turn to write in this owner's queue, or in the server's queue if `owner` is
    /// `None`; see `turns`.
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
        let file = rows::file(row.ok_or_else(|| missing_row("upload_file"))?)?;
        let mut upload = Upload { session, file };
        let (before, session_before) = (upload.state(), upload.session.clone());
        let has_changed = change(&mut upload);
        if has_changed {
            session_change::store(&tx, &session_before, &upload.session).await?;
            rows::file_row(&upload.file)?.update_without_returning(&tx).await?;
            if let Some(event) = Event::of_change(before, &upload) {
                events::insert(&tx, &event).await?;
            }
            let used = |state| Usage::of(state, upload.file.size_bytes);
            accounts::change(&tx, &upload.session.owner, used(upload.state()).since(used(before))).await?;
            tx.commit().await?;
        }
        Ok((upload, has_changed))
    }

    /// Stores an open session's multipart upload, unless the session already has one. Returns the stored one; `None` if the
    /// session ended before one was stored.
    pub async fn keep_storage_upload(
        &self,
        owner: &OwnerName,
        id: SessionId,
        upload: &MultipartUpload,
    ) -> Result<Option<MultipartUpload>> {
        let keep = upload_session::Entity::update_many()
            .set(upload_session::ActiveModel {
                storage_upload_id: Set(Some(upload.id.clone())),
                storage_checksum: Set(rows::storage_checksum(upload)),
                ..Default::default()
            })
            .filter(upload_session::COLUMN.id.eq(id.0))
            .filter(upload_session::COLUMN.status.is_in(OPEN))
            .filter(upload_session::COLUMN.storage_upload_id.is_null());
        let write = self.write.of(owner);
        retry_transient(|| keep.clone().exec(&write)).await?;
        let row = retry_transient(|| at_most_one(upload_session::Entity::find_by_id(id.0), &write)).await?;
        let row = row.ok_or_else(|| missing_row("upload_session"))?;
        Ok(rows::session(row)?.storage_upload)
    }
}

fn owned(owner: &OwnerName) -> sea_orm::Select<upload_session::Entity> {
    upload_session::Entity::find().filter(upload_session::COLUMN.owner.eq(owner.as_str()))
}

pub(super) fn with_key(
    owner: &OwnerName,
    key: &str,
) -> sea_orm::SelectTwo<upload_session::Entity, upload_file::Entity> {
    joined()
        .filter(upload_session::COLUMN.owner.eq(owner.as_str()))
        .filter(upload_session::COLUMN.idempotency_key.eq(key))
}

pub(super) type UploadRows = (upload_session::Model, Option<upload_file::Model>);

pub(super) fn joined() -> sea_orm::SelectTwo<upload_session::Entity, upload_file::Entity> {
    upload_session::Entity::find().find_also_related(upload_file::Entity)
}

pub(super) fn upload((session, file): UploadRows) -> Result<Upload> {
    let file = file.ok_or_else(|| missing_row("upload_file"))?;
    Ok(Upload { session: rows::session(session)?, file: rows::file(file)? })
}

/// Reads a session and locks its row until the transaction ends. Fails if another transaction has locked it.
pub(super) async fn locked_session(tx: &Transaction, id: SessionId) -> Result<Session> {
    let found = locked(upload_session::Entity::find_by_id(id.0), LockBehavior::Nowait);
    let row = at_most_one(found, tx).await?;
    Ok(rows::session(row.ok_or_else(|| missing_row("upload_session"))?)?)
}

/// Adds FOR NO KEY UPDATE to a select. `behavior` never waits for the lock, because a request that waits would hold a
/// connection that others need. Not FOR UPDATE: inserting a part locks its session's row FOR KEY SHARE. If two
/// transactions held FOR KEY SHARE and both then asked for FOR UPDATE, they would deadlock.
pub(super) fn locked(
    select: sea_orm::Select<upload_session::Entity>,
    behavior: LockBehavior,
) -> sea_orm::Select<upload_session::Entity> {
    select.lock_with_behavior(LockType::NoKeyUpdate, behavior)
}

/// The error for a missing row that must exist, because of a foreign key or because an earlier read returned it.
pub(super) fn missing_row(table: &str) -> sea_orm::DbErr {
    sea_orm::DbErr::RecordNotFound(format!("{table}: a row that must exist is missing"))
}

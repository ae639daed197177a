//! Creating small files, in batches.
//!
//! Owns the transaction that inserts uploads which are complete from the start: their sessions, files, parts and events. It
//! also adds them to the accounts of their owners. Does not collect the batch: that is `service/small_file`.

use std::collections::BTreeMap;

use entity::upload_file;
use sea_orm::{ActiveModelTrait, EntityTrait, QueryFilter, QuerySelect};

use super::{Created, Db, Result, Transaction, accounts, changes, error::retry_transaction, events, rows};
use crate::domain::{
    AccountLimits, Event, FileId, FileStatus, OwnerName, PartRecord, SessionStatus, Upload, UploadState, Usage,
};

/// A small file whose bytes are durable, and that has no rows yet.
#[derive(Clone, Debug)]
pub struct SmallFile {
    /// The session, which is complete, and the file.
    pub upload: Upload,
    /// Its only part; `None` if it is empty.
    pub part: Option<PartRecord>,
}

/// The state of an upload at its creation.
const NEW: UploadState = UploadState { session: SessionStatus::Init, file: FileStatus::Uploading };

impl Db {
    /// Creates these uploads in one transaction, or none of them: then the result says why, for the first that cannot be
    /// created. `defaults` are the limits of owners without limits of their own.
    ///
    /// # Errors
    /// Those of the database. If there are several files, also that the idempotency key of one of them is taken.
    pub async fn create_small_files(&self, files: &[SmallFile], defaults: &AccountLimits) -> Result<Created> {
        let create = || retry_transaction(|| self.try_create_small_files(files, defaults));
        match create().await {
            Err(error) if error.is_duplicate() && files.len() == 1 => match self.earlier(&files[0].upload).await? {
                Some(found) => Ok(found),
                // Its session was abandoned in the meantime, and its key is free again.
                None => create().await,
            },
            done => done,
        }
    }

    async fn try_create_small_files(&self, files: &[SmallFile], defaults: &AccountLimits) -> Result<Created> {
        let tx = self.begin(None).await?;
        let (mut of_files, mut of_sessions, mut of_parts, mut of_events) =
            (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        let mut added: BTreeMap<&OwnerName, Usage> = BTreeMap::new();
        for SmallFile { upload, part } in files {
            let Upload { session, file } = upload;
            of_files.push(rows::file_row(file)?);
            of_sessions.push(rows::session_row(upload)?);
            of_parts.extend(part.as_ref().map(|part| rows::part_row(session.id, part)).transpose()?);
            of_events.extend(Event::of_change(NEW, upload).as_ref().map(events::row_of));
            let used = added.entry(&session.owner).or_default();
            *used = used.and(Usage::of(upload.state(), file.size_bytes));
        }
        insert(&tx, of_files).await?;
        insert(&tx, of_sessions).await?;
        insert(&tx, of_parts).await?;
        insert(&tx, of_events).await?;
        for file in files {
            changes::announce(&tx, &file.upload.session).await?;
        }
        // In the order of the owners' names, so that two transactions do not deadlock. All locks come first, because no row of an
        // account may be locked while this transaction waits for a lock of the node.
        for owner in added.keys() {
            tx.lock_account(owner).await;
        }
        for (owner, added) in added {
            if let Some(account) = accounts::admit(&tx, owner, added, defaults).await? {
                return Ok(Created::OverLimit(Box::new(account)));
            }
        }
        tx.commit().await?;
        Ok(Created::New)
    }

    /// What an earlier attempt or request created instead of this upload: the same one, if only its answer was lost, or another
    /// one with its idempotency key.
    async fn earlier(&self, upload: &Upload) -> Result<Option<Created>> {
        let (owner, session) = (&upload.session.owner, &upload.session);
        if self.upload(owner, session.id).await?.is_some() {
            return Ok(Some(Created::New));
        }
        let Some(key) = &session.idempotency_key else { return Ok(None) };
        Ok(self.upload_with_key(owner, key).await?.map(|found| Created::KeyTaken(Box::new(found))))
    }

    /// Which of these files are stored, of any owner.
    pub async fn stored_among(&self, ids: &[FileId]) -> Result<Vec<FileId>> {
        let stored = upload_file::Entity::find()
            .filter(upload_file::COLUMN.id.is_in(ids.iter().map(|id| id.0)))
            .filter(upload_file::COLUMN.status.eq(FileStatus::Stored.as_str()));
        let stored = stored.select_only().column(upload_file::Column::Id).into_tuple();
        Ok(stored.all(&self.read).await?.into_iter().map(FileId).collect())
    }
}

/// Inserts rows. The driver keeps prepared statements, so the number of rows in one takes few values: powers of two.
async fn insert<A: ActiveModelTrait>(tx: &Transaction, mut rows: Vec<A>) -> Result<()> {
    while !rows.is_empty() {
        let largest = rows.len().min(MAX_ROWS);
        let rest = rows.split_off(1 << largest.ilog2());
        let batch = std::mem::replace(&mut rows, rest);
        <A::Entity as EntityTrait>::insert_many(batch).exec_without_returning(tx).await?;
    }
    Ok(())
}

/// The largest number of rows in one insert. A row has up to 30 values; see `recording`.
const MAX_ROWS: usize = 64;

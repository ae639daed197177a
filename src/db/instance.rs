//! The table `instance`: the id of the storage that belongs to this database.
//!
//! Owns the table's single row, which also holds the pause of expiry. Does not decide what a mismatch means: that is
//! `service::bind`.

use entity::{instance, upload_file, upload_session};
use sea_orm::{ActiveValue::Set, EntityTrait, QueryFilter, QuerySelect, sea_query::OnConflict};
use uuid::Uuid;

use super::{Db, Result};
use crate::domain::ExpiryPause;

/// The key of the single row.
pub(super) const ROW: i32 = 1;

impl Db {
    /// The storage's id; `None` before the first start.
    pub async fn storage_id(&self) -> Result<Option<Uuid>> {
        let row = super::at_most_one(instance::Entity::find_by_id(ROW), &self.write).await?;
        Ok(row.map(|row| row.storage_id))
    }

    /// Stores this id if there is none yet. Returns the stored id.
    pub async fn bind_storage(&self, id: Uuid) -> Result<Uuid> {
        let keep_existing = OnConflict::column(instance::Column::Id).do_nothing().to_owned();
        self.insert_storage_id(id, keep_existing).await?;
        Ok(self.storage_id().await?.unwrap_or(id))
    }

    /// Replaces the id.
    pub async fn rebind_storage(&self, id: Uuid) -> Result<()> {
        let replace = OnConflict::column(instance::Column::Id).update_column(instance::Column::StorageId).to_owned();
        self.insert_storage_id(id, replace).await
    }

    async fn insert_storage_id(&self, id: Uuid, on_conflict: OnConflict) -> Result<()> {
        let row = instance::ActiveModel { id: Set(ROW), storage_id: Set(id), ..Default::default() };
        let insert = instance::Entity::insert(row).on_conflict(on_conflict);
        insert.exec_without_returning(&self.write).await?;
        Ok(())
    }

    /// Computes the next state of the pause in which no session expires, stores it, and returns it. Nodes that do so at
    /// the same time store about the same state, so it needs no lock.
    pub async fn note_expiry_pause(&self, next: impl Fn(ExpiryPause) -> ExpiryPause) -> Result<ExpiryPause> {
        let row = super::at_most_one(instance::Entity::find_by_id(ROW), &self.write).await?;
        let before = row.map_or_else(ExpiryPause::default, |row| ExpiryPause {
            seen_at: row.expiry_seen_at,
            until: row.expiry_paused_until,
        });
        let after = next(before);
        if after != before {
            let row = instance::ActiveModel {
                expiry_seen_at: Set(after.seen_at),
                expiry_paused_until: Set(after.until),
                ..Default::default()
            };
            let update = instance::Entity::update_many().set(row).filter(instance::COLUMN.id.eq(ROW));
            update.exec(&self.write).await?;
        }
        Ok(after)
    }

    /// Whether there is any session.
    pub async fn has_sessions(&self) -> Result<bool> {
        // Only the id, which every version of the schema has.
        let any = upload_session::Entity::find().select_only().column(upload_session::Column::Id).limit(1);
        Ok(!any.into_tuple::<Uuid>().all(&self.write).await?.is_empty())
    }

    /// Whether there is a session or a file with one of these ids.
    pub async fn has_any(&self, ids: &[Uuid]) -> Result<bool> {
        let ids = || ids.iter().copied();
        let sessions = upload_session::Entity::find().filter(upload_session::COLUMN.id.is_in(ids())).limit(1);
        let files = upload_file::Entity::find().filter(upload_file::COLUMN.id.is_in(ids())).limit(1);
        Ok(!sessions.all(&self.write).await?.is_empty() || !files.all(&self.write).await?.is_empty())
    }
}

//! The binding of database and storage.
//!
//! Owns the rule that a database is used only with its own storage. Both keep one id, written at the first start, and a
//! server refuses to start if the ids differ: with the wrong storage, every session would have lost its bytes.

use uuid::Uuid;

use super::Service;
use crate::error::{Error, Result};

impl Service {
    /// Checks that database and storage have the same id. Writes one if neither has: if both are new, or if an older
    /// version without ids wrote them and the database has rows for the uploads in the storage. Several nodes may call
    /// this at once.
    ///
    /// # Errors
    /// They have different ids.
    pub async fn bind_storage(&self) -> Result<()> {
        let id = match (self.db.storage_id().await?, self.storage.binding().await?) {
            (Some(expected), Some(found)) if expected == found => return Ok(()),
            (Some(expected), Some(found)) => return Err(mismatch(Some(expected), Some(found))),
            (None, Some(found)) => {
                // Another node may have written both ids after this node read the database.
                return match self.db.storage_id().await? {
                    Some(expected) if expected == found => Ok(()),
                    expected => Err(mismatch(expected, Some(found))),
                };
            }
            // Another first start was interrupted here, or is under way on another node.
            (Some(expected), None) if !self.db.has_sessions().await? && self.storage.sample_ids().await?.is_empty() => {
                expected
            }
            (Some(expected), None) => return Err(mismatch(Some(expected), None)),
            (None, None) => {
                let ids = self.storage.sample_ids().await?;
                if !ids.is_empty() && !self.db.has_any(&ids).await? {
                    return Err(mismatch(None, None));
                }
                self.db.bind_storage(Uuid::now_v7()).await?
            }
        };
        let found = self.storage.bind(id).await?;
        if found == id { Ok(()) } else { Err(mismatch(Some(id), Some(found))) }
    }

    /// Writes a new id to database and storage, over any that they have.
    pub async fn adopt_storage(&self) -> Result<Uuid> {
        let id = Uuid::now_v7();
        self.storage.rebind(id).await?;
        self.db.rebind_storage(id).await?;
        Ok(id)
    }
}

fn mismatch(database: Option<Uuid>, storage: Option<Uuid>) -> Error {
    let id = |id: Option<Uuid>| id.map_or("no storage id".to_owned(), |id| format!("storage id {id}"));
    Error::misbound(format!(
        "database and storage do not belong together: the database has {}, the storage has {}{}. Check the settings \
         `database` and `storage`. After a restore or a copy by hand, `partway adopt` binds them to each other",
        id(database),
        id(storage),
        if (database, storage) == (None, None) { " and has uploads that have no row in the database" } else { "" },
    ))
}

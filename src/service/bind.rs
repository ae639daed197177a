//! The binding of database and storage.
//!
//! Owns the rule that a database is used with its own storage only: the sweep removes uploads that the database does not
//! know, so another database would remove everybody's. Both keep one id, written at the first start.

use uuid::Uuid;

use super::Service;
use crate::error::{Error, Result};

impl Service {
    /// Checks that database and storage have the same id. Gives them one if neither has: when both are new, or when they
    /// are of a version that kept none and know each other's ids. Safe for several servers at once.
    ///
    /// # Errors
    /// They do not belong together.
    pub async fn bind_storage(&self) -> Result<()> {
        let id = match (self.db.storage_id().await?, self.storage.binding().await?) {
            (Some(expected), Some(found)) if expected == found => return Ok(()),
            (Some(expected), Some(found)) => return Err(mismatch(Some(expected), Some(found))),
            (None, Some(found)) => {
                // Another server may have written both ids since the database was asked.
                return match self.db.storage_id().await? {
                    Some(expected) if expected == found => Ok(()),
                    expected => Err(mismatch(expected, Some(found))),
                };
            }
            // A first start that was cut short, or one on another server that is under way.
            (Some(expected), None) if !self.db.has_sessions().await? && self.storage.some_ids().await?.is_empty() => {
                expected
            }
            (Some(expected), None) => return Err(mismatch(Some(expected), None)),
            (None, None) => {
                let ids = self.storage.some_ids().await?;
                if !ids.is_empty() && !self.db.knows_any(&ids).await? {
                    return Err(mismatch(None, None));
                }
                self.db.bind_storage(Uuid::now_v7()).await?
            }
        };
        let found = self.storage.bind(id).await?;
        if found == id { Ok(()) } else { Err(mismatch(Some(id), Some(found))) }
    }

    /// Gives database and storage a new id, whatever they had.
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
         `database` and `storage`. After a restore or a move, `partway adopt` binds them to each other",
        id(database),
        id(storage),
        if (database, storage) == (None, None) { " and holds uploads that the database does not know" } else { "" },
    ))
}

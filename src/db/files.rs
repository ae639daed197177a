//! Reads of files.

use std::collections::HashMap;

use entity::upload_file;
use sea_orm::{EntityTrait, QueryFilter};

use super::{Db, Result, rows, unreadable::each};
use crate::domain::{FileId, FileRecord, OwnerName};

impl Db {
    /// The owner's files with these ids, in one statement. If a row is invalid, only its own entry is an error.
    pub async fn files(&self, owner: &OwnerName, ids: &[FileId]) -> Result<HashMap<FileId, Result<FileRecord>>> {
        let wanted = upload_file::Entity::find()
            .filter(upload_file::COLUMN.owner.eq(owner.as_str()))
            .filter(upload_file::COLUMN.id.is_in(ids.iter().map(|id| id.0)));
        let found = each(&self.read, &wanted, rows::file).await?;
        Ok(found.into_iter().map(|(id, read)| (FileId(id), read)).collect())
    }
}

//! Statements over files.

use std::collections::HashMap;

use entity::upload_file;
use sea_orm::{EntityTrait, QueryFilter, QueryOrder, QuerySelect};

use super::{Db, Result, rows, unreadable::each};
use crate::domain::{FileId, FileRecord, FileStatus, OwnerName};

impl Db {
    /// Those of the owner's files that have one of these ids, in one statement. A row that cannot be read is an error of its
    /// own.
    pub async fn files(&self, owner: &OwnerName, ids: &[FileId]) -> Result<HashMap<FileId, Result<FileRecord>>> {
        let wanted = upload_file::Entity::find()
            .filter(upload_file::COLUMN.owner.eq(owner.as_str()))
            .filter(upload_file::COLUMN.id.is_in(ids.iter().map(|id| id.0)));
        let found = each(&self.read, &wanted, rows::file).await?;
        Ok(found.into_iter().map(|(id, read)| (FileId(id), read)).collect())
    }

    /// Stored files of all owners, by id, after this one.
    pub async fn stored_files(&self, after: Option<FileId>, limit: u64) -> Result<Vec<FileRecord>> {
        let mut select = upload_file::Entity::find().filter(upload_file::COLUMN.status.eq(FileStatus::Stored.as_str()));
        if let Some(id) = after {
            select = select.filter(upload_file::COLUMN.id.gt(id.0));
        }
        let found = select.order_by_asc(upload_file::COLUMN.id).limit(limit).all(&self.read).await?;
        Ok(found.into_iter().map(rows::file).collect::<Result<_, _>>()?)
    }
}

//! Links to the content of one file.
//!
//! Owns the rows, and when they are removed. Does not own what a link may do: that is `domain/principal`.

use entity::{download_link, upload_file};
use sea_orm::{
    ActiveValue::Set, EntityTrait, JoinType, PaginatorTrait, QueryFilter, QueryOrder, QuerySelect, RelationDef, Select,
};
use uuid::Uuid;

use super::{Db, Result, error::retry_transient, rows::CorruptRow};
use crate::domain::{FileId, OwnerName, Timestamp, TokenHash};

/// A link to be stored.
#[derive(Clone, Debug)]
pub struct NewDownloadLink {
    /// The hash of its token.
    pub hash: TokenHash,
    /// The file that it opens.
    pub file: FileId,
    /// When it was created.
    pub created_at: Timestamp,
    /// When it expires.
    pub expires_at: Timestamp,
}

/// A link that has not expired.
#[derive(Clone, Debug)]
pub struct ValidDownloadLink {
    /// The file that it opens.
    pub file: FileId,
    /// The owner of the file.
    pub owner: OwnerName,
    /// When it expires.
    pub expires_at: Timestamp,
}

impl Db {
    /// Stores a link, unless its file already has `max` links that have not expired. Requests that run at the same time do not see
    /// each other, so a file can get a few more.
    pub async fn create_download_link(&self, link: &NewDownloadLink, max: u64) -> Result<bool> {
        let of_file = download_link::Entity::find()
            .filter(download_link::COLUMN.file_id.eq(link.file.0))
            .filter(download_link::COLUMN.expires_at.gt(link.created_at));
        if retry_transient(|| of_file.clone().count(&self.read)).await? >= max {
            return Ok(false);
        }
        let row = download_link::ActiveModel {
            id: Set(Uuid::now_v7()),
            token_hash: Set(link.hash.as_bytes().to_vec()),
            file_id: Set(link.file.0),
            created_at: Set(link.created_at),
            expires_at: Set(link.expires_at),
        };
        download_link::Entity::insert(row).exec_without_returning(&self.write).await?;
        Ok(true)
    }

    /// The link with this hash of its token. `None` if it is unknown or has expired.
    pub async fn valid_download_link(&self, hash: &TokenHash, now: Timestamp) -> Result<Option<ValidDownloadLink>> {
        let wanted = download_link::Entity::find()
            .filter(download_link::COLUMN.token_hash.eq(hash.as_bytes().to_vec()))
            .filter(download_link::COLUMN.expires_at.gt(now))
            .join(JoinType::InnerJoin, to_file())
            .select_only()
            .column(download_link::Column::FileId)
            .column(upload_file::Column::Owner)
            .column(download_link::Column::ExpiresAt);
        let rows = || wanted.clone().into_tuple::<(Uuid, String, Timestamp)>();
        let found = retry_transient(|| rows().all(&self.read)).await?.pop();
        let Some((file, owner, expires_at)) = found else { return Ok(None) };
        let owner = OwnerName::parse(&owner).ok_or_else(|| CorruptRow::new("upload_file", file, "owner"))?;
        Ok(Some(ValidDownloadLink { file: FileId(file), owner, expires_at }))
    }

    /// Removes at most `limit` links that have expired. Returns their number.
    pub async fn remove_expired_download_links(&self, now: Timestamp, limit: u64) -> Result<usize> {
        let due = expired(now).limit(limit).select_only().column(download_link::Column::Id);
        let ids = || due.clone().into_tuple::<Uuid>();
        let expired = retry_transient(|| ids().all(&self.read)).await?;
        if !expired.is_empty() {
            let remove =
                download_link::Entity::delete_many().filter(download_link::COLUMN.id.is_in(expired.iter().copied()));
            retry_transient(|| remove.clone().exec(&self.write)).await?;
        }
        Ok(expired.len())
    }
}

/// Links that have expired, in the order of an index: else PostgreSQL without statistics would read all links.
pub(super) fn expired(now: Timestamp) -> Select<download_link::Entity> {
    let expired = download_link::Entity::find().filter(download_link::COLUMN.expires_at.lte(now));
    expired.order_by_asc(download_link::COLUMN.expires_at)
}

fn to_file() -> RelationDef {
    download_link::Entity::belongs_to(upload_file::Entity)
        .from(download_link::Column::FileId)
        .to(upload_file::Column::Id)
        .into()
}

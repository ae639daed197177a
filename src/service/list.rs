//! Listing a caller's sessions and files, for example to find an upload again from another device.

use super::{Service, input::check_filename, scope};
use crate::{
    domain::{FilePage, Principal, UploadPage, UploadQuery},
    error::Result,
};

impl Service {
    /// A page of the caller's sessions, in one statement. A `limit` above [`UploadQuery::MAX_LIMIT`] is lowered to it.
    ///
    /// # Errors
    /// `INVALID_INPUT` for a name that no file can have.
    pub async fn list(&self, principal: &Principal, query: UploadQuery) -> Result<UploadPage> {
        let query = checked(query)?;
        Ok(self.db.list_sessions(scope::everything(principal)?, &query).await?)
    }

    /// A page of the caller's files, also of those without content, in one statement. Otherwise as [`list`](Self::list).
    ///
    /// # Errors
    /// `INVALID_INPUT` for a name that no file can have.
    pub async fn list_files(&self, principal: &Principal, query: UploadQuery) -> Result<FilePage> {
        let query = checked(query)?;
        Ok(self.db.list_files(scope::everything(principal)?, &query).await?)
    }

    /// How many sessions, and so how many files, the caller's whole list with these filters has, in one statement. `None` if more
    /// than [`UploadQuery::MAX_COUNT`].
    ///
    /// # Errors
    /// `INVALID_INPUT` for a name that no file can have.
    pub async fn count(&self, principal: &Principal, query: UploadQuery) -> Result<Option<u64>> {
        let (query, max) = (checked(query)?, UploadQuery::MAX_COUNT);
        let count = self.db.count_uploads(scope::everything(principal)?, &query, max).await?;
        Ok((count <= max).then_some(count))
    }
}

fn checked(query: UploadQuery) -> Result<UploadQuery> {
    Ok(UploadQuery {
        original_filename: query.original_filename.map(check_filename).transpose()?,
        limit: query.limit.min(UploadQuery::MAX_LIMIT),
        ..query
    })
}

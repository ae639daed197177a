//! Listing a caller's sessions, for example to find an upload again from another device.

use super::{Service, input::check_filename, scope};
use crate::{
    domain::{Principal, SessionQuery, UploadPage},
    error::Result,
};

impl Service {
    /// A page of the caller's sessions, in one statement. A `limit` above [`SessionQuery::MAX_LIMIT`] is lowered to it.
    ///
    /// # Errors
    /// `INVALID_INPUT` for a name that no file can have.
    pub async fn list(&self, principal: &Principal, query: SessionQuery) -> Result<UploadPage> {
        let query = SessionQuery {
            original_filename: query.original_filename.map(check_filename).transpose()?,
            limit: query.limit.min(SessionQuery::MAX_LIMIT),
            ..query
        };
        Ok(self.db.list_sessions(scope::everything(principal)?, &query).await?)
    }
}

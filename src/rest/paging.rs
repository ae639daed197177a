//! The page of a list of uploads for which a query string asks.

use crate::{
    domain::UploadQuery,
    error::{Error, Result},
};

/// A query for this page, without filters.
///
/// # Errors
/// `INVALID_INPUT` naming `limit` or `after`.
pub(super) fn page(limit: Option<u64>, after: Option<&str>) -> Result<UploadQuery> {
    let mut query = UploadQuery::default();
    if let Some(cursor) = after {
        let id =
            cursor.parse().map_err(|_| Error::invalid("after", "must be the value of `next` in an earlier answer"))?;
        query.after = Some(id);
    }
    match limit {
        Some(0) => return Err(Error::invalid("limit", "must be at least 1")),
        Some(limit) => query.limit = limit,
        None => {}
    }
    Ok(query)
}

//! Cursors, page sizes, and pages of lists.

use std::sync::Arc;

use async_graphql::{
    Object, OutputType,
    connection::{Connection, CursorType, Edge, OpaqueCursor, query},
};
use serde::{Serialize, de::DeserializeOwned};
use uuid::Uuid;

use super::{
    errors::{ApiError, invalid_page},
    scope::Scope,
};
use crate::domain::{Direction, SessionId, UploadQuery};

/// A position in a list. It is opaque to clients: its content may change between versions.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cursor<T>(pub(super) T);

impl<T: Clone + Serialize + DeserializeOwned> CursorType for Cursor<T> {
    type Error = &'static str;

    fn decode_cursor(text: &str) -> Result<Self, Self::Error> {
        // The library's error would show the content.
        let cursor = OpaqueCursor::decode_cursor(text).map_err(|_| "the cursor is not from an earlier answer")?;
        Ok(Self(cursor.0))
    }

    fn encode_cursor(&self) -> String {
        OpaqueCursor(self.0.clone()).encode_cursor()
    }
}

/// The number of items on a page for `first` or `last`. It is also the page's complexity, so a negative argument counts as 0.
pub(super) fn page_size(requested: Option<i32>) -> usize {
    let size = requested.map_or(UploadQuery::DEFAULT_LIMIT, |size| u64::try_from(size).unwrap_or_default());
    usize::try_from(size.min(UploadQuery::MAX_LIMIT)).unwrap_or_default()
}

/// The arguments of a list of sessions or files.
pub(super) struct UploadPageArguments {
    pub(super) first: Option<i32>,
    pub(super) after: Option<String>,
    pub(super) last: Option<i32>,
    pub(super) before: Option<String>,
}

/// A page of sessions or files.
pub(super) type UploadConnection<T> = Connection<Cursor<Uuid>, T, Total>;

/// The fields of the whole list that a page is from.
pub(super) struct Total {
    scope: Arc<Scope>,
    filter: UploadQuery,
}

/// The fields of the whole list that a page is from.
#[Object]
impl Total {
    /// How many items the whole list has, with these filters. Null if there are more than 10,000.
    #[graphql(complexity = 20)]
    async fn total_count(&self) -> Result<Option<i32>, ApiError> {
        let count = self.scope.service.count(&self.scope.principal, self.filter.clone()).await?;
        Ok(count.and_then(|count| i32::try_from(count).ok()))
    }
}

/// A connection over the items that `read` returns for the page, each with its cursor, and whether there are more.
pub(super) async fn upload_page<T: OutputType, R>(
    scope: &Arc<Scope>,
    page: UploadPageArguments,
    filter: UploadQuery,
    read: impl FnOnce(UploadQuery) -> R,
) -> async_graphql::Result<UploadConnection<T>>
where
    R: Future<Output = async_graphql::Result<(Vec<(SessionId, T)>, bool)>>,
{
    let UploadPageArguments { first, after, last, before } = page;
    query(after, before, first, last, |after, before, first: Option<usize>, last: Option<usize>| async move {
        let direction = if first.is_none() && last.is_some() { Direction::Backward } else { Direction::Forward };
        let limit = page_size(first.or(last).map(|size| i32::try_from(size).unwrap_or(i32::MAX)));
        let id = |cursor: Cursor<Uuid>| SessionId(cursor.0);
        let (has_after, has_before) = (after.is_some(), before.is_some());
        let (after, before) = (after.map(id), before.map(id));
        let total = Total { scope: Arc::clone(scope), filter: filter.clone() };
        let (items, has_more) = read(UploadQuery { after, before, direction, limit: limit as u64, ..filter }).await?;
        let (has_previous, has_next) = match direction {
            Direction::Forward => (has_after, has_more),
            Direction::Backward => (has_more, has_before),
        };
        let mut connection = Connection::with_additional_fields(has_previous, has_next, total);
        connection.edges.extend(items.into_iter().map(|(id, item)| Edge::new(Cursor(id.0), item)));
        Ok::<_, async_graphql::Error>(connection)
    })
    .await
    .map_err(invalid_page)
}

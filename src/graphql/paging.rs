//! Cursors and page sizes of lists.

use async_graphql::connection::{CursorType, OpaqueCursor};
use serde::{Serialize, de::DeserializeOwned};

use crate::domain::SessionQuery;

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
    let size = requested.map_or(SessionQuery::DEFAULT_LIMIT, |size| u64::try_from(size).unwrap_or_default());
    usize::try_from(size.min(SessionQuery::MAX_LIMIT)).unwrap_or_default()
}

//! Pages of a list: how long they are, and where they begin or end.

use async_graphql::connection::{CursorType, OpaqueCursor};
use serde::{Serialize, de::DeserializeOwned};

use crate::domain::SessionQuery;

/// A place in a list. Clients send it back as they got it; its content is not part of the interface.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cursor<T>(pub(super) T);

impl<T: Clone + Serialize + DeserializeOwned> CursorType for Cursor<T> {
    type Error = &'static str;

    fn decode_cursor(text: &str) -> Result<Self, Self::Error> {
        // More detail would show what is in it.
        let cursor = OpaqueCursor::decode_cursor(text).map_err(|_| "the cursor is not one of an earlier answer")?;
        Ok(Self(cursor.0))
    }

    fn encode_cursor(&self) -> String {
        OpaqueCursor(self.0.clone()).encode_cursor()
    }
}

/// How many items a page has for a `first` or `last`. Also the page's complexity, so it is never negative.
pub(super) fn page_size(asked: Option<i32>) -> usize {
    let asked = asked.map_or(SessionQuery::DEFAULT_LIMIT, |asked| u64::try_from(asked).unwrap_or_default());
    usize::try_from(asked.min(SessionQuery::MAX_LIMIT)).unwrap_or_default()
}

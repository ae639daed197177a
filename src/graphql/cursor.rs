//! Cursors: where in a list a page begins or ends.

use async_graphql::connection::{CursorType, OpaqueCursor};
use serde::{Serialize, de::DeserializeOwned};

/// A place in a list. Clients hand it back as they got it; what is in it is nobody's business.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cursor<T>(pub(super) T);

impl<T: Clone + Serialize + DeserializeOwned> CursorType for Cursor<T> {
    type Error = &'static str;

    fn decode_cursor(text: &str) -> Result<Self, Self::Error> {
        // How exactly it is malformed would tell what is in it.
        let cursor = OpaqueCursor::decode_cursor(text).map_err(|_| "the cursor is not one of an earlier answer")?;
        Ok(Self(cursor.0))
    }

    fn encode_cursor(&self) -> String {
        OpaqueCursor(self.0.clone()).encode_cursor()
    }
}

//! Giving a stored file's bytes back.

use std::ops::Range;

use futures_util::StreamExt;

use super::Service;
use crate::{
    domain::{FileId, FileRecord, Principal},
    error::{Error, Result},
    storage::ByteStream,
};

/// A stored file that can be read.
#[derive(Debug)]
pub struct Content {
    /// What is known of it.
    pub file: FileRecord,
    location: String,
}

impl Service {
    /// A stored file, ready to be read.
    ///
    /// # Errors
    /// `NOT_FOUND` if the caller has no such file, or it is not stored.
    pub async fn content(&self, principal: &Principal, id: FileId) -> Result<Content> {
        let file = self.file(principal, id).await?;
        match file.location.clone() {
            Some(location) => Ok(Content { file, location }),
            None => Err(Error::not_found("stored file")),
        }
    }

    /// These bytes of it.
    pub async fn read(&self, content: &Content, range: Range<u64>) -> Result<ByteStream> {
        Ok(self.storage.read(&content.location, range).await?.boxed())
    }
}

//! Downloading a stored file.

use std::{
    io::{self, ErrorKind},
    ops::Range,
};

use futures_util::{StreamExt, TryStreamExt, stream};

use super::{Service, scope};
use crate::{
    domain::{FileId, FileRecord, Principal},
    error::{Code, Error, Result},
    storage::{self, ByteStream},
};

/// A stored file, ready to be read.
#[derive(Debug)]
pub struct Content {
    /// The record of the file.
    pub file: FileRecord,
    location: String,
}

impl Service {
    /// A stored file, ready to be read.
    ///
    /// # Errors
    /// `NOT_FOUND` if the caller has no such file, or it is not stored. `FORBIDDEN` if the caller may not read its content.
    pub async fn content(&self, principal: &Principal, id: FileId) -> Result<Content> {
        let file = self.file_of(scope::content(principal, id)?, id).await?;
        match file.location.clone() {
            Some(location) => Ok(Content { file, location }),
            None => Err(Error::not_found("stored file")),
        }
    }

    /// Checks that the storage has its bytes.
    ///
    /// # Errors
    /// `BYTES_LOST` if they are missing or have another size. `NOT_FOUND` if the file was deleted since.
    pub async fn check_content(&self, content: &Content) -> Result<()> {
        match self.storage.check(&content.location, content.file.size_bytes).await {
            Ok(()) => Ok(()),
            Err(error) => Err(self.explain_unreadable_file(&content.file, error).await),
        }
    }

    async fn explain_unreadable_file(&self, file: &FileRecord, error: storage::Error) -> Error {
        match self.content(&Principal::of_owner(file.owner.clone()), file.id).await {
            Err(deleted) if deleted.code() == Code::NotFound => deleted,
            _ => self.explain_unreadable(error).await,
        }
    }

    /// Reads a range of its bytes. An error after the first bytes is logged and ends the response early.
    ///
    /// # Errors
    /// `BYTES_LOST` if they are missing or have another size. `NOT_FOUND` if the file was deleted since.
    pub async fn read(&self, content: &Content, range: Range<u64>) -> Result<ByteStream> {
        let (id, expected_bytes) = (content.file.id, range.end - range.start);
        // If the file is deleted from now on, its bytes stay until the stream is dropped.
        let download = self.downloads.begin(id);
        let bytes = match self.storage.read(&content.location, content.file.size_bytes, range).await {
            Ok(bytes) => bytes,
            Err(error) => return Err(self.explain_unreadable_file(&content.file, error).await),
        };
        let whole =
            stream::try_unfold((bytes, expected_bytes, download), |(mut bytes, left_bytes, download)| async move {
                match bytes.try_next().await? {
                    Some(block) => {
                        let left_bytes = left_bytes.saturating_sub(block.len() as u64);
                        Ok(Some((block, (bytes, left_bytes, download))))
                    }
                    None if left_bytes > 0 => {
                        Err(io::Error::new(ErrorKind::UnexpectedEof, "the stored bytes end early"))
                    }
                    None => Ok(None),
                }
            });
        let logged = whole.inspect_err(move |error| {
            tracing::error!(file.id = %id, %error, "a download was cut off: its bytes cannot be read");
        });
        Ok(logged.boxed())
    }
}

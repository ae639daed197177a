//! Why an upload failed.
//!
//! Owns the error of an upload, and which of its cases are retryable. Does not own the error of a single request: that
//! is `error`.

use std::io;

use super::{error::ClientError, retry::Retryable};

/// Why an upload failed.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages are the documentation")]
pub enum UploadError {
    #[error("session {0} holds parts of another file with this name and size")]
    OtherFile(String),
    #[error("a part was damaged in transit")]
    Damaged,
    #[error(
        "the file changed during the upload; nothing was finalized. Run the command again to upload the new content"
    )]
    Changed,
    #[error("the session ended before all parts were sent: {0}")]
    Ended(String),
    #[error("the server's responses contradict each other; is it a Partway server?")]
    ProtocolMismatch,
    #[error(transparent)]
    File(io::Error),
    #[error(transparent)]
    Client(#[from] ClientError),
}

impl Retryable for UploadError {
    fn is_retryable(&self) -> bool {
        match self {
            Self::Client(error) => error.is_retryable(),
            Self::Damaged => true,
            _ => false,
        }
    }

    fn as_client_error(&self) -> Option<&ClientError> {
        match self {
            Self::Client(error) => Some(error),
            _ => None,
        }
    }
}

impl From<io::Error> for UploadError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            // The file is now shorter than at the start.
            io::ErrorKind::UnexpectedEof => Self::Changed,
            _ => Self::File(error),
        }
    }
}

//! Why a download failed.
//!
//! Owns the error of a download, and which of its cases are retryable. Does not own the error of a single request: that is
//! `error`.

use std::io;

use super::{error::ClientError, retry::Retryable};

/// Why a download failed.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages are the documentation")]
pub enum DownloadError {
    #[error("the file is not stored; its status is {0}")]
    NotStored(String),
    #[error("the answer ended before the file did")]
    Cut,
    #[error("the server sends the file from its beginning again, but the first bytes have been written already")]
    Restarted,
    #[error("the bytes do not have the {0} of the file")]
    Damaged(&'static str),
    #[error("the server's responses contradict each other; is it a Partway server?")]
    ProtocolMismatch,
    /// The bytes could not be written, or those of an earlier download not read.
    #[error(transparent)]
    Target(io::Error),
    #[error(transparent)]
    Client(#[from] ClientError),
}

impl Retryable for DownloadError {
    fn is_retryable(&self) -> bool {
        match self {
            Self::Client(error) => error.is_retryable(),
            Self::Cut => true,
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

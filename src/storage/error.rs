//! Why a storage operation failed.
//!
//! Owns the error of the storage and what a caller can conclude from it. Does not own the codes that clients get: those
//! are in `service/store_errors`.

use std::{error::Error as StdError, io, time::Duration};

use rustix::io::Errno;

/// Why a storage operation failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The operating system returned an error.
    #[error("{action}")]
    Io {
        /// The operation, as a verb and its object.
        action: String,
        /// The operating system's error.
        source: io::Error,
    },
    /// The object store failed or did not answer. The request, or an earlier attempt of it, may still take effect.
    #[error("{action}")]
    Store {
        /// The operation, as a verb and its object.
        action: String,
        /// The last error.
        source: Box<dyn StdError + Send + Sync>,
    },
    /// The object store refused the request. The request has no effect.
    #[error("{action}")]
    Refused {
        /// The operation, as a verb and its object.
        action: String,
        /// The store's answer.
        source: Box<dyn StdError + Send + Sync>,
    },
    /// The part waited this long for memory and got none.
    #[error("no memory became free for the part within {0:?}")]
    MemoryTimeout(Duration),
    /// The object store has other bytes for these parts than the bytes that were recorded.
    #[error("the object store has other bytes for the parts {0:?} than the database recorded")]
    Replaced(Vec<u32>),
    /// Recorded bytes are missing or differ.
    #[error("{0}")]
    Lost(String),
}

impl Error {
    pub(super) fn io(action: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let action = action.into();
        move |source| Self::Io { action, source }
    }

    /// Whether the process or the system had no free file descriptor. A later retry may succeed.
    pub fn is_out_of_descriptors(&self) -> bool {
        let Self::Io { source, .. } = self else { return false };
        matches!(Errno::from_io_error(source), Some(Errno::MFILE | Errno::NFILE))
    }

    /// Whether the object store answered with a failure, so that no attempt of the request can take effect later.
    pub fn is_definite(&self) -> bool {
        matches!(self, Self::Refused { .. } | Self::Lost(_))
    }

    /// Whether the disk or the quota is full. A later retry may succeed.
    pub fn is_full(&self) -> bool {
        let Self::Io { source, .. } = self else { return false };
        matches!(Errno::from_io_error(source), Some(Errno::NOSPC | Errno::DQUOT | Errno::FBIG))
    }
}

/// The result of a storage operation.
pub type Result<T, E = Error> = std::result::Result<T, E>;

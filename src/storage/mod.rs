//! Bytes, on the local disk.
//!
//! Owns where the bytes of a session lie, how they get there durably, and how they are read and freed. Knows no rows and
//! no protocol: it is told what to write and trusts the service to record it only afterwards.
//!
//! One file per session in `uploading/`, allocated whole when its first part arrives; every part is written at its own
//! offset. A finished file is renamed into `stored/`, never copied. Both folders are on one file system.

mod content;
mod local;
mod part_writer;

use std::io;

use rustix::io::Errno;

pub use content::ByteStream;
pub use local::LocalDisk;
pub use part_writer::{PartWriter, StagedPart};

/// What can go wrong with the bytes.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The operating system refused.
    #[error("{action}")]
    Io {
        /// What was being done.
        action: String,
        /// What it answered.
        source: io::Error,
    },
    /// Bytes that were recorded are not there.
    #[error("{0}")]
    Lost(String),
}

impl Error {
    fn io(action: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let action = action.into();
        move |source| Self::Io { action, source }
    }

    /// Whether there is no room left; trying again may help once there is.
    pub fn is_full(&self) -> bool {
        let Self::Io { source, .. } = self else { return false };
        matches!(Errno::from_io_error(source), Some(Errno::NOSPC | Errno::DQUOT | Errno::FBIG))
    }
}

/// The result of a storage operation.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Runs file operations off the async threads.
async fn off_thread<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(failed) => Err(Error::Io { action: "run a file operation".to_owned(), source: io::Error::other(failed) }),
    }
}

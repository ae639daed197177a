//! Errors of commands that use the database and the storage without a server.
//!
//! Owns their text: an error with its causes. Only the operator at the command line sees them; a remote client never does.

use crate::error::{Code, Error};

/// A use case failed.
#[derive(Debug, thiserror::Error)]
#[error("{text}")]
pub(super) struct ServiceFailure {
    pub(super) code: Code,
    text: String,
}

/// The error of a use case, for the operator.
pub(super) fn internal(error: Error) -> anyhow::Error {
    ServiceFailure { code: error.code(), text: error.with_causes() }.into()
}

//! Wrong arguments that clap cannot find.
//!
//! Owns the error for them. It has the exit code of clap's own errors.

/// The arguments contradict each other, or what they name.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct UsageError(pub(super) &'static str);

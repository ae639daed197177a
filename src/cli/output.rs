//! What a command prints.
//!
//! Owns writing to standard output and standard error. A closed pipe or a full disk is an error that the caller handles or
//! ignores, never a panic. The macros of the standard library panic, so clippy refuses them in this crate.

use std::{
    fmt::Display,
    io::{self, Write},
};

/// Standard output does not take what was asked for.
#[derive(Debug, thiserror::Error)]
#[error("cannot write to standard output")]
pub(super) struct OutputError(#[from] io::Error);

impl OutputError {
    /// Whether the reader of a pipe has gone, as `head` does when it has seen enough.
    pub(super) fn is_closed_pipe(&self) -> bool {
        self.0.kind() == io::ErrorKind::BrokenPipe
    }
}

/// Prints a line of what the command was asked for.
pub(super) fn answer(line: impl Display) -> Result<(), OutputError> {
    let mut out = io::stdout().lock();
    writeln!(out, "{line}")?;
    Ok(out.flush()?)
}

/// Prints a line beside the answer, to standard error. The command goes on if nobody can read it.
pub(super) fn note(line: impl Display) {
    let _ = writeln!(io::stderr().lock(), "{line}");
}

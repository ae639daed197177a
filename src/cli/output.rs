//! Output of the commands.
//!
//! Owns writing to standard output and standard error. A closed pipe or a full disk never causes a panic: a failed
//! write to standard output is an error, and a failed write to standard error is ignored. `println!`
//! and `eprintln!` panic in these cases, so clippy rejects them in this crate.

use std::{
    fmt::Display,
    io::{self, Write},
};

/// A write to standard output failed.
#[derive(Debug, thiserror::Error)]
#[error("cannot write to standard output")]
pub(super) struct OutputError(#[from] io::Error);

impl OutputError {
    /// Whether the reader of a pipe has closed it, as `head` does after its last line.
    pub(super) fn is_closed_pipe(&self) -> bool {
        self.0.kind() == io::ErrorKind::BrokenPipe
    }
}

/// Prints a line of the result to standard output.
pub(super) fn answer(line: impl Display) -> Result<(), OutputError> {
    let mut out = io::stdout().lock();
    writeln!(out, "{line}")?;
    Ok(out.flush()?)
}

/// Prints a line to standard error. A failed write does not end the command.
pub(super) fn note(line: impl Display) {
    let _ = writeln!(io::stderr().lock(), "{line}");
}

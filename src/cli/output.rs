//! Output of the commands.
//!
//! Owns writing to standard output and standard error, and its three forms: text, JSON (`--json`) and ids alone (`--quiet`).
//! A closed pipe or a full disk never causes a panic: a failed write to standard output is an error, and a failed write to
//! standard error is ignored. `println!` and `eprintln!` panic in these cases, so clippy rejects them in this crate.

use std::{
    fmt::Display,
    io::{self, Write},
    sync::OnceLock,
};

use clap::Args;
use serde::Serialize;

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

impl From<serde_json::Error> for OutputError {
    fn from(error: serde_json::Error) -> Self {
        Self(error.into())
    }
}

/// The form of the output.
#[derive(Clone, Copy, Debug, Default, Args)]
pub(super) struct OutputFlags {
    /// Print JSON: one object a line, for each result and for an error
    #[arg(long, global = true)]
    json: bool,
    /// Print only ids, and errors: no progress, no notes
    #[arg(long, short, global = true)]
    quiet: bool,
}

/// The form of this process's output: text, unless a command has other flags.
static FLAGS: OnceLock<OutputFlags> = OnceLock::new();

impl OutputFlags {
    /// Uses this form from now on. The first call counts.
    pub(super) fn apply(self) {
        let _ = FLAGS.set(self);
    }
}

/// What a form of a result prints that has nothing to print.
pub(super) const NOTHING: Option<&str> = None;

fn flags() -> OutputFlags {
    FLAGS.get().copied().unwrap_or_default()
}

/// Whether results are JSON.
pub(super) fn is_json() -> bool {
    flags().json
}

/// Whether there are no notes and no progress.
pub(super) fn is_quiet() -> bool {
    flags().quiet
}

/// Prints a line of the result to standard output.
pub(super) fn answer(line: impl Display) -> Result<(), OutputError> {
    let mut out = io::stdout().lock();
    writeln!(out, "{line}")?;
    Ok(out.flush()?)
}

/// Prints a result in the form that the flags choose: its JSON, its id, or text. `None` prints nothing in this form.
pub(super) fn result(
    json: impl Serialize,
    id: Option<impl Display>,
    text: Option<impl Display>,
) -> Result<(), OutputError> {
    match (flags(), id, text) {
        (OutputFlags { json: true, .. }, ..) => answer(serde_json::to_string(&json)?),
        (OutputFlags { quiet: true, .. }, Some(id), _) => answer(id),
        (OutputFlags { quiet: false, .. }, _, Some(text)) => answer(text),
        _ => Ok(()),
    }
}

/// Prints the head of a table, which only text has.
pub(super) fn head(line: impl Display) -> Result<(), OutputError> {
    if is_json() || is_quiet() { Ok(()) } else { answer(line) }
}

/// Prints a line to standard error, unless `--quiet` is given. A failed write does not end the command.
pub(super) fn note(line: impl Display) {
    if !is_quiet() {
        error(line);
    }
}

/// Prints a line to standard error. A failed write does not end the command.
pub(super) fn error(line: impl Display) {
    let _ = writeln!(io::stderr().lock(), "{line}");
}

/// Text of another client, for a terminal: control characters would move the cursor, or more. They are percent-encoded, as in
/// the name of an upload.
pub(super) fn plain(text: &str) -> String {
    let mut plain = String::new();
    for c in text.chars() {
        if c.is_control() {
            plain.extend(c.encode_utf8(&mut [0; 4]).bytes().map(|byte| format!("%{byte:02X}")));
        } else {
            plain.push(c);
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_do_not_reach_the_terminal() {
        assert_eq!(plain("großes bild.png"), "großes bild.png");
        assert_eq!(plain("a\u{1b}[2J\nb\u{85}"), "a%1B[2J%0Ab%C2%85");
    }
}

//! Standard input as a file.
//!
//! Owns the copy of standard input. An upload needs the size of its file, and reads a part again to send it again; a pipe has
//! neither. The copy has no name, so the system removes it however this process ends.

use std::{
    fs::File,
    io::{self, Read, Write},
};

use anyhow::Context;

/// Number of bytes in one read.
const BLOCK_BYTES: usize = 256 * 1024;

/// Reads standard input to its end, into a temporary file without a name.
pub(super) async fn standard_input() -> anyhow::Result<File> {
    tokio::task::spawn_blocking(copy).await?
}

fn copy() -> anyhow::Result<File> {
    let folder = std::env::temp_dir();
    let keep = || format!("keep standard input in {}; TMPDIR names another folder", folder.display());
    let mut file = tempfile::tempfile_in(&folder).with_context(keep)?;
    let (mut input, mut block) = (io::stdin().lock(), vec![0; BLOCK_BYTES]);
    loop {
        match input.read(&mut block) {
            Ok(0) => return Ok(file),
            Ok(read) => file.write_all(&block[..read]).with_context(keep)?,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error).context("standard input"),
        }
    }
}

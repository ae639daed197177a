//! File names in the folder.
//!
//! Owns how files are listed, renamed and deleted durably, and which errors mean that bytes are lost. Does not own which file
//! belongs to which session: that is the parent module.

use std::{
    fs::{self, File, ReadDir},
    io::{self, ErrorKind},
    path::{Path, PathBuf},
    sync::Arc,
};

use parking_lot::Mutex;
use uuid::Uuid;

use super::{super::expect_size as expect_len, Error, Result, UNFINISHED, off_thread};

/// The ids in the file names of a folder.
pub(super) async fn list(dir: PathBuf) -> Result<Vec<Uuid>> {
    off_thread(move || {
        let failed = || Error::io(format!("list {}", dir.display()));
        let mut found = Vec::new();
        for entry in fs::read_dir(&dir).map_err(failed())? {
            let name = entry.map_err(failed())?.file_name();
            found.extend(name.to_str().and_then(id_of));
        }
        Ok(found)
    })
    .await
}

/// The ids in the next `limit` file names of a folder. `listing` keeps the rest of the folder; at its end, the next call begins again.
pub(super) async fn list_next(dir: PathBuf, listing: Arc<Mutex<Option<ReadDir>>>, limit: usize) -> Result<Vec<Uuid>> {
    off_thread(move || {
        let failed = || Error::io(format!("list {}", dir.display()));
        let mut listing = listing.lock();
        let next = |rest: &mut ReadDir| {
            let names = rest.by_ref().take(limit).map(|entry| Ok(entry.map_err(failed())?.file_name()));
            names.collect::<Result<Vec<_>>>()
        };
        let begin = || fs::read_dir(&dir).map_err(failed());
        // An error ends the listing, too.
        let mut rest = listing.take().map_or_else(begin, Ok)?;
        let mut names = next(&mut rest)?;
        if names.is_empty() {
            rest = begin()?;
            names = next(&mut rest)?;
        }
        if names.len() == limit {
            *listing = Some(rest);
        }
        Ok(names.iter().filter_map(|name| name.to_str().and_then(id_of)).collect())
    })
    .await
}

/// The id in the name of a file that this server created. `None` for any other name, such as a copy that a person made: the
/// server must not touch such files.
fn id_of(name: &str) -> Option<Uuid> {
    let stem = name.strip_suffix(UNFINISHED).and_then(|stem| stem.strip_suffix('.')).unwrap_or(name);
    stem.parse().ok().filter(|id: &Uuid| id.to_string() == stem)
}

pub(super) fn rename_durably(from: &Path, to: &Path, size_bytes: u64) -> Result<()> {
    expect_size(from, size_bytes)?;
    let synced = File::open(from).and_then(|file| file.sync_all());
    synced.map_err(|error| lost_or(error, "sync", from))?;
    fs::rename(from, to).map_err(|error| match from.exists() {
        // What is missing is the folder of `to`.
        true => Error::io(format!("rename {} to {}", from.display(), to.display()))(error),
        false => lost_or(error, "rename", from),
    })
}

pub(super) fn expect_size(path: &Path, size_bytes: u64) -> Result<()> {
    let found = fs::metadata(path).map_err(|error| lost_or(error, "inspect", path))?.len();
    expect_len(path.display(), found, size_bytes)
}

/// Classifies an I/O error on a file that must exist. A missing or truncated file is lost. Other errors, such as missing
/// permissions, prove nothing about the bytes.
pub(super) fn lost_or(error: io::Error, action: &str, path: &Path) -> Error {
    match error.kind() {
        ErrorKind::NotFound => Error::Lost(format!("{} does not exist", path.display())),
        ErrorKind::UnexpectedEof => Error::Lost(format!("{} is shorter than the database recorded", path.display())),
        _ => Error::io(format!("{action} {}", path.display()))(error),
    }
}

/// Deletes a file durably. Succeeds if the file does not exist.
pub(super) fn remove(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Ok(()) => sync_dir(path.parent().unwrap_or(path)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        Err(error) => Err(Error::io(format!("remove {}", path.display()))(error)),
    }
}

/// Syncs a folder. A created, renamed or deleted name is durable only after its folder was synced.
pub(super) fn sync_dir(dir: &Path) -> Result<()> {
    File::open(dir).and_then(|dir| dir.sync_all()).map_err(Error::io(format!("sync {}", dir.display())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_that_the_server_creates_contain_ids() {
        let id = "01890000-0000-7000-8000-00000000000a";
        for name in [id.to_owned(), format!("{id}.new")] {
            assert_eq!(id_of(&name), Some(id.parse().unwrap()), "{name}");
        }
        for name in
            [format!("{id}.bak"), format!("{id}.new.bak"), id.to_uppercase(), id.replace('-', ""), "x".to_owned()]
        {
            assert_eq!(id_of(&name), None, "{name}");
        }
    }
}

//! Names in the folder: how files are found, moved and removed durably, and what a missing one means.
//!
//! Knows no sessions: which file is whose is the folder's.

use std::{
    fs::{self, File},
    io::{self, ErrorKind},
    path::{Path, PathBuf},
};

use uuid::Uuid;

use super::{super::expect_size as expect_len, Error, Result, UNFINISHED, off_thread};

/// The ids that files in a folder are named after.
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

/// The id that a file of ours is named after. Any other name, such as that of somebody's copy, is not ours to touch.
fn id_of(name: &str) -> Option<Uuid> {
    let stem = name.strip_suffix(UNFINISHED).and_then(|stem| stem.strip_suffix('.')).unwrap_or(name);
    stem.parse().ok().filter(|id: &Uuid| id.to_string() == stem)
}

pub(super) fn rename_durably(from: &Path, to: &Path, size_bytes: u64) -> Result<()> {
    expect_size(from, size_bytes)?;
    let synced = File::open(from).and_then(|file| file.sync_all());
    synced.map_err(|error| lost_or(error, "sync", from))?;
    fs::rename(from, to).map_err(|error| lost_or(error, "rename", from))
}

pub(super) fn expect_size(path: &Path, size_bytes: u64) -> Result<()> {
    let found = fs::metadata(path).map_err(|error| lost_or(error, "look at", path))?.len();
    expect_len(path.display(), found, size_bytes)
}

/// A file that was recorded and is not there is lost; another failure says nothing about it.
pub(super) fn lost_or(error: io::Error, action: &str, path: &Path) -> Error {
    match error.kind() {
        ErrorKind::NotFound => Error::Lost(format!("{} is not there", path.display())),
        ErrorKind::UnexpectedEof => Error::Lost(format!("{} is shorter than was recorded", path.display())),
        _ => Error::io(format!("{action} {}", path.display()))(error),
    }
}

/// Removes a file, durably; it may be gone already.
pub(super) fn remove(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Ok(()) => sync_dir(path.parent().unwrap_or(path)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        Err(error) => Err(Error::io(format!("remove {}", path.display()))(error)),
    }
}

/// A new name, or a name gone, is durable only when its folder is.
pub(super) fn sync_dir(dir: &Path) -> Result<()> {
    File::open(dir).and_then(|dir| dir.sync_all()).map_err(Error::io(format!("sync {}", dir.display())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_names_that_are_made_here_are_ids() {
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

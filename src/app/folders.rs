//! Folders of the database and of the storage.
//!
//! Owns their creation: with private permissions, and durable.

use std::{
    fs::{DirBuilder, File},
    io,
    os::unix::fs::DirBuilderExt,
    path::Path,
};

use anyhow::Context;

/// The folder that a file is in.
pub(super) fn folder_of(file: &Path) -> &Path {
    file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Creates a folder if it does not exist.
pub(super) fn create_dir(dir: &Path) -> anyhow::Result<()> {
    // Only the server's user may read uploaded files.
    let made = DirBuilder::new().recursive(true).mode(0o700).create(dir);
    made.and_then(|()| sync_parent(dir)).with_context(|| format!("create folder {}", dir.display()))
}

/// Makes the name of a new folder durable, which needs a sync of its parent folder.
fn sync_parent(dir: &Path) -> io::Result<()> {
    match File::open(folder_of(dir)) {
        // A sync needs permission to read the parent folder. A server without it did not create the folder now, or the
        // operating system writes its name later.
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Ok(()),
        opened => opened?.sync_all(),
    }
}

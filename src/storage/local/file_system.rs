//! Whether files can go from `uploading/` to `stored/`.
//!
//! Owns how that is found out before the first upload is finished: a rename does not cross file systems, nor two mounts of
//! one.

use std::{
    fs::{self, File},
    io::ErrorKind,
    os::unix::fs::MetadataExt,
    path::Path,
};

use uuid::Uuid;

use super::{Error, Result, STORED, UPLOADING};

/// Extension of a file that is made, moved and removed again.
const PROBE: &str = "probe";

/// Moves a file.
pub(super) fn try_rename(root: &Path) -> Result<()> {
    // A name of its own: another command may try at the same time.
    let probe = format!("partway-{}.{PROBE}", Uuid::now_v7());
    let (from, to) = (root.join(UPLOADING).join(&probe), root.join(STORED).join(&probe));
    let renamed = File::create(&from).and_then(|_| fs::rename(&from, &to));
    let _ = (fs::remove_file(&from), fs::remove_file(&to));
    renamed.map_err(|error| match error.kind() {
        ErrorKind::CrossesDevices => apart(root),
        _ => Error::io(format!("move a file from {UPLOADING} to {STORED} in {}", root.display()))(error),
    })
}

/// Compares the file systems, which takes nothing but a look.
pub(super) fn check(root: &Path) -> Result<()> {
    let device = |folder| {
        let path = root.join(folder);
        fs::metadata(&path).map(|found| found.dev()).map_err(Error::io(format!("look at {}", path.display())))
    };
    if device(UPLOADING)? == device(STORED)? { Ok(()) } else { Err(apart(root)) }
}

fn apart(root: &Path) -> Error {
    let why =
        format!("{UPLOADING} and {STORED} in {} must be on one file system, since files are renamed", root.display());
    Error::io(why)(ErrorKind::CrossesDevices.into())
}

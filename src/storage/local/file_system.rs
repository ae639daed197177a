//! Checks that files can be renamed from `uploading/` and `arriving/` to `stored/`.
//!
//! Owns the check at the start and the one for readiness. A rename crosses neither file systems nor two mounts of one file
//! system. Without the check, the server would start and every finalize would fail.

use std::{
    fs::{self, File},
    io::ErrorKind,
    os::unix::fs::MetadataExt,
    path::Path,
};

use uuid::Uuid;

use super::{ARRIVING, Error, Result, STORED, UPLOADING};

/// Extension of the file that the check creates, renames and deletes.
const PROBE: &str = "probe";

/// Renames a test file from each folder to `stored/`.
pub(super) fn try_rename(root: &Path) -> Result<()> {
    // A unique name: another command may run the check at the same time.
    let probe = format!("partway-{}.{PROBE}", Uuid::now_v7());
    for folder in [UPLOADING, ARRIVING] {
        let (from, to) = (root.join(folder).join(&probe), root.join(STORED).join(&probe));
        let renamed = File::create(&from).and_then(|_| fs::rename(&from, &to));
        let _ = (fs::remove_file(&from), fs::remove_file(&to));
        renamed.map_err(|error| match error.kind() {
            ErrorKind::CrossesDevices => different_file_systems(root, folder),
            _ => Error::io(format!("move a file from {folder} to {STORED} in {}", root.display()))(error),
        })?;
    }
    Ok(())
}

/// Compares the device numbers of the folders. Writes nothing, so it suits a frequent readiness check.
pub(super) fn check(root: &Path) -> Result<()> {
    let device = |folder| {
        let path = root.join(folder);
        fs::metadata(&path).map(|found| found.dev()).map_err(Error::io(format!("inspect {}", path.display())))
    };
    for folder in [UPLOADING, ARRIVING] {
        if device(folder)? != device(STORED)? {
            return Err(different_file_systems(root, folder));
        }
    }
    Ok(())
}

fn different_file_systems(root: &Path, folder: &str) -> Error {
    let root = root.display();
    let action = format!("rename files from {folder} to {STORED} in {root}: both folders must be on one file system");
    Error::io(action)(ErrorKind::CrossesDevices.into())
}

//! Checks that files can be renamed from `uploading/` to `stored/`.
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

use super::{Error, Result, STORED, UPLOADING};

/// Extension of the file that the check creates, renames and deletes.
const PROBE: &str = "probe";

/// Renames a test file from `uploading/` to `stored/`.
pub(super) fn try_rename(root: &Path) -> Result<()> {
    // A unique name: another command may run the check at the same time.
    let probe = format!("partway-{}.{PROBE}", Uuid::now_v7());
    let (from, to) = (root.join(UPLOADING).join(&probe), root.join(STORED).join(&probe));
    let renamed = File::create(&from).and_then(|_| fs::rename(&from, &to));
    let _ = (fs::remove_file(&from), fs::remove_file(&to));
    renamed.map_err(|error| match error.kind() {
        ErrorKind::CrossesDevices => different_file_systems(root),
        _ => Error::io(format!("move a file from {UPLOADING} to {STORED} in {}", root.display()))(error),
    })
}

/// Compares the device numbers of both folders. Writes nothing, so it suits a frequent readiness check.
pub(super) fn check(root: &Path) -> Result<()> {
    let device = |folder| {
        let path = root.join(folder);
        fs::metadata(&path).map(|found| found.dev()).map_err(Error::io(format!("inspect {}", path.display())))
    };
    if device(UPLOADING)? == device(STORED)? { Ok(()) } else { Err(different_file_systems(root)) }
}

fn different_file_systems(root: &Path) -> Error {
    let action = format!(
        "rename files from {UPLOADING} to {STORED} in {}: both folders must be on one file system",
        root.display()
    );
    Error::io(action)(ErrorKind::CrossesDevices.into())
}

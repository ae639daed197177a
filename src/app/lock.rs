//! The lock on local stores.
//!
//! Owns the lock files of the SQLite database and of the storage folder. Does not open the stores: that is `stores`.

use std::{
    fs::{File, OpenOptions, TryLockError},
    os::unix::fs::OpenOptionsExt,
    path::Path,
};

use anyhow::{Context, bail};

use super::folders::{create_dir, folder_of};
use crate::config::{Config, DatabaseTarget, StorageTarget};

/// An exclusive lock on the SQLite database and the storage folder, until it is dropped. Part claims are in memory, so
/// only one process may use them. PostgreSQL and object stores need no lock: there, nodes use leases.
#[derive(Debug)]
pub struct Lock {
    _files: Vec<File>,
}

impl Lock {
    /// Locks the database file and the folder.
    ///
    /// # Errors
    /// Another process holds the lock, or the server cannot create a lock file.
    pub fn take(config: &Config) -> anyhow::Result<Self> {
        let mut files = Vec::new();
        if let DatabaseTarget::Sqlite(file) = config.stores.database()? {
            create_dir(folder_of(&file))?;
            files.push(lock(&file.with_added_extension("lock"))?);
        }
        if let StorageTarget::Folder(folder) = config.stores.storage()? {
            create_dir(&folder)?;
            files.push(lock(&folder.join("partway.lock"))?);
        }
        Ok(Self { _files: files })
    }
}

fn lock(path: &Path) -> anyhow::Result<File> {
    let opened = OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(path);
    let file = opened.with_context(|| path.display().to_string())?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => bail!("{} is in use by another partway process", path.display()),
        Err(TryLockError::Error(error)) => Err(error).with_context(|| path.display().to_string()),
    }
}

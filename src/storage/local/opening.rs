//! Opening the folder.
//!
//! Owns the creation of its folders, and the check that they are on one file system. Does not own what is in them.

use std::{
    fs::{self, DirBuilder},
    os::unix::fs::DirBuilderExt,
    path::Path,
    sync::Arc,
};

use super::{ARRIVING, LocalDisk, STORED, SyncParts, UPLOADING, blocks::Blocks, dir_entries::sync_dir, file_system};
use crate::storage::{Error, Result};

impl LocalDisk {
    /// Opens the folder, and creates it if it does not exist.
    pub fn open(root: &Path, sync: SyncParts) -> Result<Self> {
        for dir in [UPLOADING, ARRIVING, STORED].map(|folder| root.join(folder)) {
            // Only the server's own user may read uploaded files.
            let made = DirBuilder::new().recursive(true).mode(0o700).create(&dir);
            made.map_err(Error::io(format!("create {}", dir.display())))?;
        }
        sync_dir(root)?;
        file_system::try_rename(root)?;
        Ok(Self::at(root, sync))
    }

    /// Opens a folder only to read. Creates nothing.
    ///
    /// # Errors
    /// The folder does not exist.
    pub fn open_to_read(root: &Path) -> Result<Self> {
        fs::read_dir(root).map_err(Error::io(format!("open the folder {}", root.display())))?;
        Ok(Self::at(root, SyncParts::Always))
    }

    fn at(root: &Path, sync: SyncParts) -> Self {
        Self {
            root: root.to_owned(),
            sync,
            creation: Arc::default(),
            open: Arc::default(),
            arrivals: Arc::default(),
            blocks: Blocks::default(),
            listing: Arc::default(),
        }
    }
}

//! The file of an open session.
//!
//! Owns how it is created and opened, and that all concurrent writers of a session share it. Does not write parts: that is
//! `part_writer`.

use std::{
    collections::HashMap,
    fs::{self, File, Metadata, OpenOptions},
    io,
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::Path,
    sync::{Arc, Weak},
};

use super::{
    LocalDisk, UNFINISHED, UPLOADING,
    dir_entries::{lost_or, sync_dir},
    mtime_mark,
    part_writer::UnwrittenBlock,
};
use crate::{
    domain::{Session, SessionId},
    group_commit::GroupCommit,
    storage::{self, Error, Result},
};

/// A session's file while requests write parts to it.
#[derive(Debug)]
pub(super) struct OpenFile {
    pub(super) file: File,
    pub(super) writes: mtime_mark::Writes,
    /// Group commit: one sync makes all parts durable whose last bytes arrived while the previous sync ran.
    pub(super) syncs: GroupCommit<UnwrittenBlock, std::result::Result<(), Arc<io::Error>>>,
}

impl LocalDisk {
    /// Opens the session's file for writing. The first bytes create it as a sparse file: one small request must not reserve
    /// disk space for a whole file. For later bytes the file must exist: a new file would have holes in place of the recorded
    /// parts and the tail.
    fn open_for_parts(&self, session: &Session) -> Result<File> {
        let path = self.uploading(session.id);
        if !session.has_bytes() {
            return self.create_file(&path, session.plan.total_size_bytes());
        }
        let file = OpenOptions::new().write(true).open(&path).map_err(|error| lost_or(error, "open", &path))?;
        let found = file.metadata().map_err(|error| lost_or(error, "inspect", &path))?.len();
        storage::expect_size(path.display(), found, session.plan.total_size_bytes())?;
        Ok(file)
    }

    /// Returns the open file of a session. All concurrent writers of a session share one [`OpenFile`].
    pub(super) fn upload(&self, session: &Session) -> Result<Arc<OpenFile>> {
        let open = || self.open.lock();
        // The server or a person may have deleted or truncated the file since it was opened.
        let size_bytes = session.plan.total_size_bytes();
        let is_intact = |file: &Metadata| file.nlink() > 0 && file.len() == size_bytes;
        let find_open = |open: &HashMap<SessionId, Weak<OpenFile>>| {
            let upload = open.get(&session.id).and_then(Weak::upgrade);
            upload.filter(|upload| upload.file.metadata().is_ok_and(|file| is_intact(&file)))
        };
        if let Some(upload) = find_open(&open()) {
            return Ok(upload);
        }
        let (file, syncs) = (self.open_for_parts(session)?, GroupCommit::default());
        let upload = Arc::new(OpenFile { file, writes: mtime_mark::Writes::default(), syncs });
        let mut open = open();
        if let Some(concurrent) = find_open(&open) {
            return Ok(concurrent);
        }
        open.retain(|_, upload| upload.strong_count() > 0);
        open.insert(session.id, Arc::downgrade(&upload));
        Ok(upload)
    }

    /// Creates the session's file, or opens it if a concurrent first part has created it. The file has another name until it
    /// has its full size. So no request writes to a file that this function deletes again after a failure.
    pub(super) fn create_file(&self, path: &Path, size_bytes: u64) -> Result<File> {
        let _one_at_a_time = self.creation.lock();
        let mut options = OpenOptions::new();
        options.write(true).mode(0o600);
        if let Ok(file) = options.open(path)
            && file.metadata().is_ok_and(|file| file.len() == size_bytes)
        {
            // An earlier request may have created the file just before the server stopped. No recorded part has bytes in the
            // file yet, so its content does not matter and the server can set the mark.
            mtime_mark::set(&file).map_err(Error::io(format!("mark {}", path.display())))?;
            sync_dir(&self.root.join(UPLOADING))?;
            return Ok(file);
        }
        let unfinished = path.with_extension(UNFINISHED);
        let failed = || Error::io(format!("create {} with {size_bytes} bytes", path.display()));
        let file = options.create(true).truncate(true).open(&unfinished).map_err(failed())?;
        let created = file
            .set_len(size_bytes)
            .and_then(|()| mtime_mark::set(&file))
            .and_then(|()| file.sync_all())
            .and_then(|()| fs::rename(&unfinished, path));
        if let Err(error) = created {
            let _ = fs::remove_file(&unfinished);
            return Err(failed()(error));
        }
        sync_dir(&self.root.join(UPLOADING))?;
        Ok(file)
    }
}

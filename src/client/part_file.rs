//! The local file that grows while a download runs.
//!
//! Owns its name, its lock and how it becomes the target. Does not request bytes: that is `download`.

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io,
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use rustix::{
    fs::{CWD, OFlags, RenameFlags, renameat_with},
    io::Errno,
};
use uuid::Uuid;

/// How often the client opens the file again because another download has just renamed it.
const MAX_OPENINGS: usize = 3;

/// The bytes of a file that have arrived so far. Its name has the id of the file, whose bytes never change, so bytes of two
/// files never get into one. Only one download at a time writes to it.
#[derive(Debug)]
pub struct PartFile {
    /// The open file.
    pub(super) file: File,
    path: PathBuf,
}

impl PartFile {
    /// Opens the bytes of an earlier download of this file in this folder, or creates an empty file.
    ///
    /// # Errors
    /// That of the operating system, or `ResourceBusy` if another download writes to the file.
    pub fn open(folder: &Path, file_id: &str) -> io::Result<Self> {
        // The id comes from a server, and must not lead out of the folder.
        let file_id: Uuid =
            file_id.parse().map_err(|_| io::Error::new(io::ErrorKind::InvalidInput, "no id of a file"))?;
        let path = folder.join(format!("partway-{file_id}.part"));
        // NOFOLLOW: in a folder that others can write to, the name may be a link of somebody else to another file.
        let flags = i32::try_from((OFlags::NOFOLLOW | OFlags::NONBLOCK).bits()).map_err(io::Error::other)?;
        for _ in 0..MAX_OPENINGS {
            let mut options = OpenOptions::new();
            let file = options.read(true).write(true).create(true).truncate(false).custom_flags(flags).open(&path)?;
            if !file.metadata()?.is_file() {
                return Err(io::Error::new(io::ErrorKind::InvalidInput, "this is no regular file"));
            }
            match file.try_lock() {
                // Some network file systems have no locks.
                Ok(()) | Err(TryLockError::Error(_)) => {}
                Err(TryLockError::WouldBlock) => break,
            }
            if is_at(&file, &path)? {
                return Ok(Self { file, path });
            }
        }
        Err(io::Error::new(io::ErrorKind::ResourceBusy, "another download writes to this file"))
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Makes it the target, after its bytes are on the disk. Replaces a file that is there only with `replace`.
    ///
    /// # Errors
    /// That of the operating system, or `AlreadyExists`. The file then keeps its name.
    pub fn become_target(self, target: &Path, replace: bool) -> io::Result<()> {
        self.file.sync_all()?;
        if replace {
            fs::rename(&self.path, target)?;
        } else {
            rename_to_new(&self.path, target)?;
        }
        // The name is on the disk when its folder is. Some file systems cannot sync a folder; the file is complete anyway.
        let _ = target.parent().map(|folder| File::open(if_empty(folder)).and_then(|folder| folder.sync_all()));
        Ok(())
    }

    /// Removes it.
    ///
    /// # Errors
    /// That of the operating system.
    pub fn remove(self) -> io::Result<()> {
        fs::remove_file(&self.path)
    }
}

/// Whether the open file still has this name: another download may have renamed it before this one got the lock.
fn is_at(file: &File, path: &Path) -> io::Result<bool> {
    let (open, named) = (file.metadata()?, fs::symlink_metadata(path));
    Ok(named.is_ok_and(|named| (named.dev(), named.ino()) == (open.dev(), open.ino())))
}

fn rename_to_new(from: &Path, to: &Path) -> io::Result<()> {
    match renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
        // The file system has no such rename, so a file that is created between the check and the rename is replaced.
        Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) if !to.exists() => fs::rename(from, to),
        Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) => Err(io::ErrorKind::AlreadyExists.into()),
        renamed => Ok(renamed?),
    }
}

/// The parent of a plain name is the empty path, which cannot be opened.
fn if_empty(folder: &Path) -> &Path {
    if folder.as_os_str().is_empty() { Path::new(".") } else { folder }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn a_file_becomes_the_target_and_replaces_only_on_request() {
        let folder = tempfile::tempdir().unwrap();
        let (id, target) = (Uuid::now_v7().to_string(), folder.path().join("a"));
        let with = |text: &str| {
            let mut part = PartFile::open(folder.path(), &id).unwrap();
            part.file.write_all(text.as_bytes()).unwrap();
            part
        };
        with("one").become_target(&target, false).unwrap();
        let refused = with("two").become_target(&target, false).unwrap_err();
        assert_eq!((refused.kind(), fs::read(&target).unwrap()), (io::ErrorKind::AlreadyExists, b"one".to_vec()));
        let again = PartFile::open(folder.path(), &id).unwrap();
        assert_eq!(again.file.metadata().unwrap().len(), 3, "the bytes are still there");
        again.become_target(&target, true).unwrap();
        assert_eq!(fs::read(&target).unwrap(), b"two");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_second_download_and_a_link_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let id = Uuid::now_v7().to_string();
        let first = PartFile::open(folder.path(), &id).unwrap();
        assert_eq!(PartFile::open(folder.path(), &id).unwrap_err().kind(), io::ErrorKind::ResourceBusy);
        assert!(PartFile::open(folder.path(), "../x").is_err());
        let path = first.path().to_owned();
        first.remove().unwrap();
        let victim = folder.path().join("victim");
        fs::write(&victim, "precious").unwrap();
        std::os::unix::fs::symlink(&victim, &path).unwrap();
        assert!(PartFile::open(folder.path(), &id).is_err());
        assert_eq!(fs::read(&victim).unwrap(), b"precious");
    }
}

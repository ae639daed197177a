//! The mark of files that nobody but this server has written to.
//!
//! What was hashed while it was received proves nothing of a file that somebody else has written to since. Each write of
//! ours leaves the file with a modification time whose nanoseconds are ours; any other write leaves the kernel's. The
//! seconds stay true, for tools that go by age. A file system that keeps no nanoseconds keeps no mark, and then the bytes
//! are read again.

use std::{
    fs::{File, Metadata},
    io,
    os::unix::fs::MetadataExt,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

const NANOS: u32 = 271_828_182;

/// Whether the last write was ours.
pub(super) fn is_set(file: &Metadata) -> bool {
    file.mtime_nsec() == i64::from(NANOS)
}

pub(super) fn set(file: &File) -> io::Result<()> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    file.set_modified(UNIX_EPOCH + Duration::new(now.as_secs(), NANOS))
}

/// The writes of ours to one file that are under way.
#[derive(Debug, Default)]
pub(super) struct Writes(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    under_way: usize,
    /// Somebody else wrote, so the mark is not set again.
    has_stranger: bool,
}

impl Writes {
    /// Does `write`, and marks the file if it was marked before.
    pub(super) fn run<T>(&self, file: &File, write: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
        {
            let mut state = self.state();
            if state.under_way == 0 {
                state.has_stranger |= !is_set(&file.metadata()?);
            }
            state.under_way += 1;
        }
        let written = write();
        let mut state = self.state();
        state.under_way -= 1;
        if state.under_way == 0 && !state.has_stranger {
            set(file)?;
        }
        written
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::FileExt};

    use super::*;

    #[test]
    fn a_write_of_ours_keeps_the_mark_and_another_one_takes_it_for_good() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        let file = File::create(&path).unwrap();
        set(&file).unwrap();
        let write = |writes: &Writes| writes.run(&file, || file.write_all_at(b"ours", 0)).unwrap();
        let is_marked = || is_set(&fs::metadata(&path).unwrap());
        let writes = Writes::default();
        write(&writes);
        assert!(is_marked());
        fs::write(&path, "theirs").unwrap();
        assert!(!is_marked());
        write(&writes);
        write(&Writes::default());
        assert!(!is_marked(), "what they wrote is still there");
    }
}

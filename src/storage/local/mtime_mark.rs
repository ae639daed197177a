//! Detects writes of other processes to a session's file, by a mark in the file's modification time.
//!
//! Owns the mark, and that one write at a time runs. After each write of its own, the server sets the nanoseconds of the modification
//! time to a fixed value. A write by another process leaves the kernel's value, so the digest that the server computed while it
//! received the bytes no longer describes the file. The seconds stay correct, for tools that select files by age. On a file system
//! without nanoseconds the mark is always missing, and finalize reads the file again. Does not own what follows from a missing mark:
//! that is in the service.

use std::{
    fs::{File, Metadata},
    io,
    os::unix::fs::MetadataExt,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use parking_lot::Mutex;

/// Any value that a kernel's clock is unlikely to produce.
const MARK_NANOS: u32 = 271_828_182;

/// Whether this server made the last write.
pub(super) fn is_set(file: &Metadata) -> bool {
    file.mtime_nsec() == i64::from(MARK_NANOS)
}

pub(super) fn set(file: &File) -> io::Result<()> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    file.set_modified(UNIX_EPOCH + Duration::new(now.as_secs(), MARK_NANOS))
}

/// The writes of this server to one file, one at a time.
///
/// The kernel also lets only one thread at a time write to a file. The other threads spin: they use a processor while they wait. With
/// four connections to one session that took a tenth of the server's CPU time. Here they sleep.
#[derive(Debug, Default)]
pub(super) struct Writes {
    /// Another process has written to the file. The mark must not be set again.
    has_external_write: Mutex<bool>,
}

impl Writes {
    /// Runs `write`. Afterwards restores the mark, unless another process had written to the file before.
    pub(super) fn run<T>(&self, file: &File, write: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
        let mut has_external_write = self.has_external_write.lock();
        *has_external_write |= !is_set(&file.metadata()?);
        let written = write();
        if !*has_external_write {
            set(file)?;
        }
        written
    }
}

#[cfg(test)]
mod tests {
    use std::{
        fs,
        os::unix::fs::FileExt,
        sync::atomic::{AtomicUsize, Ordering},
    };

    use super::*;

    #[test]
    fn the_servers_own_writes_keep_the_mark_and_an_external_write_removes_it_permanently() {
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
        assert!(!is_marked(), "the file still contains the other process's bytes");
    }

    #[test]
    fn writes_to_a_file_do_not_overlap() {
        let file = tempfile::tempfile().unwrap();
        let (writes, running) = (Writes::default(), AtomicUsize::new(0));
        let write = || {
            assert_eq!(running.fetch_add(1, Ordering::Relaxed), 0);
            std::thread::yield_now();
            running.fetch_sub(1, Ordering::Relaxed);
            Ok(())
        };
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| (0..100).for_each(|_| writes.run(&file, write).unwrap()));
            }
        });
    }
}

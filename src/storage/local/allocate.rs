//! Reserving room for a file.
//!
//! Owns how the file system is asked. When and how much is the folder's.

use std::{fs::File, io};

use rustix::{fs::FallocateFlags, io::Errno};

pub(super) fn allocate(file: &File, size_bytes: u64) -> io::Result<()> {
    if size_bytes == 0 {
        return Ok(());
    }
    #[cfg(any(target_os = "linux", target_os = "android", target_os = "freebsd"))]
    match rustix::fs::fallocate(file, FallocateFlags::empty(), 0, size_bytes) {
        Ok(()) => return Ok(()),
        // The file system cannot reserve; the size alone has to do.
        Err(Errno::OPNOTSUPP | Errno::NOSYS) => {}
        Err(error) => return Err(error.into()),
    }
    file.set_len(size_bytes)
}

//! How much of what was handed to the connections has really gone.
//!
//! Owns the difference between both: the system takes megabytes at once, minutes of a slow line. It says how many bytes the
//! other side has not acknowledged, where it does; elsewhere what was handed over is taken for gone.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

/// How often it is looked.
pub(super) const LOOK_INTERVAL: Duration = Duration::from_millis(500);

/// The bytes of all parts of an upload.
#[derive(Debug, Default)]
pub(super) struct Departed {
    /// Without those that are to go again.
    handed_over: AtomicU64,
    told: AtomicU64,
}

impl Departed {
    /// Bytes of a part were handed to its connection.
    pub(super) fn handed_over(&self, bytes: u64) {
        self.handed_over.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Bytes that were handed over will be so again.
    pub(super) fn lost(&self, bytes: u64) {
        self.handed_over.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// How many more have gone since this was asked before; fewer if some were lost.
    pub(super) fn since_last(&self) -> i64 {
        let gone = self.handed_over.load(Ordering::Relaxed).saturating_sub(unacknowledged());
        let before = self.told.swap(gone, Ordering::Relaxed);
        gone.cast_signed() - before.cast_signed()
    }

    /// The same, once all have arrived.
    pub(super) fn rest(&self) -> i64 {
        let gone = self.handed_over.load(Ordering::Relaxed);
        gone.cast_signed() - self.told.swap(gone, Ordering::Relaxed).cast_signed()
    }
}

/// The bytes that wait in the sockets of this process; 0 where the system does not tell.
#[cfg(target_os = "linux")]
fn unacknowledged() -> u64 {
    use std::{collections::HashSet, fs};

    let Ok(descriptors) = fs::read_dir("/proc/self/fd") else { return 0 };
    let targets = descriptors.flatten().filter_map(|entry| fs::read_link(entry.path()).ok());
    let inode =
        |target: std::path::PathBuf| Some(target.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.to_owned());
    let own: HashSet<String> = targets.filter_map(inode).collect();
    let tables =
        ["/proc/self/net/tcp", "/proc/self/net/tcp6"].map(|table| fs::read_to_string(table).unwrap_or_default());
    tables.iter().map(|table| waiting_in(table, &|inode| own.contains(inode))).sum()
}

#[cfg(not(target_os = "linux"))]
fn unacknowledged() -> u64 {
    0
}

/// The bytes that wait to be sent, or to be acknowledged, in those sockets of a table of the kernel's whose inode is ours:
/// the first half of the fifth column, in hex. The tenth is the inode.
#[cfg(target_os = "linux")]
fn waiting_in(table: &str, is_ours: &dyn Fn(&str) -> bool) -> u64 {
    let waiting = |line: &str| {
        let mut columns = line.split_whitespace();
        let (waiting, _) = columns.nth(4)?.split_once(':')?;
        is_ours(columns.nth(4)?).then(|| u64::from_str_radix(waiting, 16).ok())?
    };
    table.lines().skip(1).filter_map(waiting).sum()
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::{
        io::Write,
        net::{TcpListener, TcpStream},
    };

    use super::*;

    #[test]
    fn the_kernels_table_is_read() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n   \
                     0: 0100007F:6D91 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 41 1 x 100\n   \
                     1: 0100007F:A1B2 0100007F:6D91 01 00000A10:00000000 01:00000014 00000000     0        0 42 2 x 20\n   \
                     2: 0100007F:A1B4 0100007F:6D91 01 00000001:00000000 01:00000014 00000000     0        0 43 2 x 20\n";
        assert_eq!(waiting_in(table, &|inode| inode == "42"), 0xa10);
        assert_eq!(waiting_in(table, &|_| true), 0xa11);
        assert_eq!(waiting_in("", &|_| true), 0);
    }

    #[test]
    fn what_the_system_holds_has_not_gone() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut near = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (_far, _) = listener.accept().unwrap();
        near.set_nonblocking(true).unwrap();
        let departed = Departed::default();
        // Nobody reads, so that the system takes what it can and no more.
        while let Ok(bytes) = near.write(&[0; 4_096]) {
            departed.handed_over(bytes as u64);
        }
        let (gone, rest) = (departed.since_last(), departed.rest());
        assert!(rest > 0, "{gone} went, {rest} are held");
        departed.lost((gone + rest).cast_unsigned());
        assert!(departed.since_last() < 0);
    }
}

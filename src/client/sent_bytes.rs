//! How many bytes of the parts the other host has acknowledged.
//!
//! Owns the difference between bytes written to the sockets and bytes acknowledged. The kernel buffers megabytes; a slow connection
//! needs minutes to send them. Linux reports how many bytes of each socket the peer has not acknowledged. On other
//! systems the written bytes count as sent.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

/// How often the client reports sent bytes.
pub(super) const REPORT_INTERVAL: Duration = Duration::from_millis(500);

/// The sent bytes of all parts of an upload.
#[derive(Debug, Default)]
pub(super) struct SentBytes {
    /// The bytes written to the sockets, without those of parts that failed.
    written: AtomicU64,
    /// The sent bytes at the last report.
    reported: AtomicU64,
}

impl SentBytes {
    /// Counts bytes that the client has written to a socket.
    pub(super) fn add(&self, bytes: u64) {
        self.written.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Takes back the bytes of a part that failed. The client will write them again.
    pub(super) fn remove(&self, bytes: u64) {
        self.written.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// The change since the last call; negative if parts failed.
    pub(super) fn change(&self) -> i64 {
        self.change_to(self.written.load(Ordering::Relaxed).saturating_sub(unacknowledged()))
    }

    /// The change since the last call when all parts have ended. All written bytes then count as sent.
    pub(super) fn change_at_end(&self) -> i64 {
        self.change_to(self.written.load(Ordering::Relaxed))
    }

    fn change_to(&self, sent: u64) -> i64 {
        sent.cast_signed() - self.reported.swap(sent, Ordering::Relaxed).cast_signed()
    }
}

/// The bytes in the send buffers of this process's sockets; 0 on systems that do not report them.
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
    tables.iter().map(|table| send_queue_bytes(table, &|inode| own.contains(inode))).sum()
}

#[cfg(not(target_os = "linux"))]
fn unacknowledged() -> u64 {
    0
}

/// Adds up the send queues in a table of the kernel, for the sockets whose inode is ours. The send queue is the first half
/// of the fifth column, in hex: the bytes not sent or not acknowledged. The inode is the tenth column.
#[cfg(target_os = "linux")]
fn send_queue_bytes(table: &str, is_ours: &dyn Fn(&str) -> bool) -> u64 {
    let send_queue = |line: &str| {
        let mut columns = line.split_whitespace();
        let (send_queue, _) = columns.nth(4)?.split_once(':')?;
        is_ours(columns.nth(4)?).then(|| u64::from_str_radix(send_queue, 16).ok())?
    };
    table.lines().skip(1).filter_map(send_queue).sum()
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::{
        io::Write,
        net::{TcpListener, TcpStream},
    };

    use super::*;

    #[test]
    fn the_send_queues_of_our_sockets_are_added_up() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n   \
                     0: 0100007F:6D91 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 41 1 x 100\n   \
                     1: 0100007F:A1B2 0100007F:6D91 01 00000A10:00000000 01:00000014 00000000     0        0 42 2 x 20\n   \
                     2: 0100007F:A1B4 0100007F:6D91 01 00000001:00000000 01:00000014 00000000     0        0 43 2 x 20\n";
        assert_eq!(send_queue_bytes(table, &|inode| inode == "42"), 0xa10);
        assert_eq!(send_queue_bytes(table, &|_| true), 0xa11);
        assert_eq!(send_queue_bytes("", &|_| true), 0);
    }

    #[test]
    fn bytes_in_the_send_buffer_do_not_count_as_sent() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut near = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (_far, _) = listener.accept().unwrap();
        near.set_nonblocking(true).unwrap();
        let sent_bytes = SentBytes::default();
        // The peer does not read, so the kernel accepts only what fits into its buffers.
        while let Ok(bytes) = near.write(&[0; 4_096]) {
            sent_bytes.add(bytes as u64);
        }
        let (sent, buffered) = (sent_bytes.change(), sent_bytes.change_at_end());
        assert!(buffered > 0, "{sent} bytes sent, {buffered} buffered");
        sent_bytes.remove((sent + buffered).cast_unsigned());
        assert!(sent_bytes.change() < 0);
    }
}

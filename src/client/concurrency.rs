//! How many parts the client sends in parallel, and when a connection counts as stalled.
//!
//! Owns the adaptive concurrency limit and the measured transfer rate. The client sends one part at a time on a slow
//! connection: parallel parts would share its bandwidth, and each could be so slow that a proxy closes its connection.

use std::time::{Duration, Instant};

use parking_lot::{Mutex, MutexGuard};
use tokio::sync::{Semaphore, SemaphorePermit};

use crate::domain::MIB;

/// A part that takes less time than this raises the limit by one.
const FAST_PART: Duration = Duration::from_secs(5);
/// A part that takes more time than this lowers the limit by one.
const SLOW_PART: Duration = Duration::from_secs(30);
/// How long a part may make no progress, or its response may take, before the connection counts as stalled. Buffered bytes
/// extend this time.
const MIN_STALL_TIMEOUT: Duration = Duration::from_mins(2);
/// How many bytes of a part the kernel and the proxies may buffer. The client has written these bytes, but the server has
/// not received them yet.
const MAX_BUFFERED_BYTES: u64 = 8 * MIB;
/// The assumed rate, in bytes a second, before the first part has arrived: 128 kbit/s. The stall timeout assumes half of
/// it, 64 kbit/s.
const INITIAL_RATE: u64 = 16 * 1024;
/// The lowest rate, in bytes a second, that the stall timeout assumes.
const MIN_RATE: u64 = 1024;

/// An adaptive limit on the number of parts that are sent in parallel.
#[derive(Debug)]
pub(super) struct ConcurrencyLimit {
    slots: Semaphore,
    max: usize,
    state: Mutex<State>,
}

#[derive(Clone, Copy, Debug)]
struct State {
    /// The current limit.
    slots: usize,
    /// The rate of the last part that arrived.
    bytes_per_second: u64,
}

impl ConcurrencyLimit {
    /// Starts with one part, and never allows more than `max`.
    pub(super) fn new(max: usize) -> Self {
        let state = State { slots: 1, bytes_per_second: INITIAL_RATE };
        Self { slots: Semaphore::new(1), max, state: Mutex::new(state) }
    }

    /// Waits until the client may send another part.
    pub(super) async fn acquire(&self) -> Slot<'_> {
        // `acquire` fails only on a closed semaphore, and this one is never closed.
        Slot { limit: self, permit: self.slots.acquire().await.ok(), since: Instant::now() }
    }

    /// How long a part may make no progress after the client has written this many bytes of it.
    pub(super) fn stall_timeout(&self, written_bytes: u64) -> Duration {
        // Half of the measured rate, because connections get slower.
        let rate = (self.state().bytes_per_second / 2).max(MIN_RATE);
        MIN_STALL_TIMEOUT + Duration::from_secs(written_bytes.min(MAX_BUFFERED_BYTES) / rate)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }
}

/// The permission to send one part.
pub(super) struct Slot<'a> {
    limit: &'a ConcurrencyLimit,
    permit: Option<SemaphorePermit<'a>>,
    since: Instant,
}

impl Slot<'_> {
    /// The server has stored the part, which has this many bytes.
    pub(super) fn succeeded(self, bytes: u64) {
        let took = self.since.elapsed();
        self.succeeded_within(bytes, took);
    }

    fn succeeded_within(self, bytes: u64, took: Duration) {
        let mut state = self.limit.state();
        let millis = u64::try_from(took.as_millis()).unwrap_or(u64::MAX).max(1);
        state.bytes_per_second = bytes.saturating_mul(1_000) / millis;
        if took > SLOW_PART {
            drop(state);
            self.failed();
        } else if took < FAST_PART && state.slots < self.limit.max {
            state.slots += 1;
            self.limit.slots.add_permits(1);
        }
    }

    /// The part took too long, or its connection broke. Lowers the limit by one, but not below one.
    pub(super) fn failed(mut self) {
        let mut state = self.limit.state();
        if state.slots > 1
            && let Some(permit) = self.permit.take()
        {
            state.slots -= 1;
            permit.forget();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The current limit.
    fn current(limit: &ConcurrencyLimit) -> usize {
        assert_eq!(limit.state().slots, limit.slots.available_permits());
        limit.state().slots
    }

    #[tokio::test]
    async fn fast_parts_raise_the_limit_and_slow_or_failed_parts_lower_it() {
        let limit = ConcurrencyLimit::new(3);
        let after = async |took| {
            limit.acquire().await.succeeded_within(MIB, took);
            current(&limit)
        };
        assert_eq!(current(&limit), 1);
        assert_eq!(after(Duration::from_mins(2)).await, 1, "never less than one");
        assert_eq!(after(FAST_PART * 2).await, 1);
        assert_eq!(after(FAST_PART / 2).await, 2);
        assert_eq!(after(FAST_PART / 2).await, 3);
        assert_eq!(after(Duration::ZERO).await, 3);
        assert_eq!(after(FAST_PART * 2).await, 3);
        assert_eq!(after(SLOW_PART * 2).await, 2);
        limit.acquire().await.failed();
        assert_eq!(current(&limit), 1);
        limit.acquire().await.failed();
        assert_eq!(current(&limit), 1);
    }

    #[tokio::test]
    async fn the_stall_timeout_covers_the_time_that_buffered_bytes_need() {
        let limit = ConcurrencyLimit::new(1);
        // A connection of 64 kbit/s, and a kernel that buffers 4 MiB.
        let takes = Duration::from_secs(4 * MIB / 8_000);
        assert!(limit.stall_timeout(4 * MIB) > takes);
        limit.acquire().await.succeeded_within(4 * MIB, takes);
        assert!(limit.stall_timeout(4 * MIB) > takes);
        limit.acquire().await.succeeded_within(8 * MIB, Duration::from_secs(1));
        assert!(limit.stall_timeout(8 * MIB) < MIN_STALL_TIMEOUT + Duration::from_secs(5));
        assert_eq!(limit.stall_timeout(0), MIN_STALL_TIMEOUT);
    }
}

//! How fast the line is, and what follows from it.
//!
//! Owns how many parts go out at the same time, and for how long silence is no sign of a fault. A slow line gets one
//! part at a time: several would share the line, and each would be so slow that a proxy may cut it.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use tokio::sync::{Semaphore, SemaphorePermit};

use crate::domain::MIB;

/// A part that arrives so quickly leaves room for another one beside it.
const QUICK: Duration = Duration::from_secs(5);
/// Of parts that take so long, fewer go at the same time.
const SLOW: Duration = Duration::from_secs(30);
/// How long nothing of a part may go out, or its answer may take, before the connection is taken for dead.
const LONGEST_STALL: Duration = Duration::from_mins(2);
/// What the system and the proxies on the way may hold of a part: these bytes have left us, and are still to arrive.
const HELD_ON_THE_WAY: u64 = 8 * MIB;
/// Bytes a second of a line that is not known yet: twice 64 kbit/s, as half of it is counted on.
const UNKNOWN_LINE: u64 = 16 * 1024;
/// Least bytes a second that are counted on.
const SLOWEST_LINE: u64 = 1024;

/// What is known of the line.
#[derive(Debug)]
pub(super) struct Pace {
    lanes: Semaphore,
    most: usize,
    line: Mutex<Line>,
}

#[derive(Clone, Copy, Debug)]
struct Line {
    lanes: usize,
    /// Of the part that arrived last.
    bytes_per_second: u64,
}

impl Pace {
    /// One part at first, and never more than `most`.
    pub(super) fn at_most(most: usize) -> Self {
        let line = Line { lanes: 1, bytes_per_second: UNKNOWN_LINE };
        Self { lanes: Semaphore::new(1), most, line: Mutex::new(line) }
    }

    /// Waits until a part may go out.
    pub(super) async fn lane(&self) -> Lane<'_> {
        // Never closed.
        Lane { pace: self, permit: self.lanes.acquire().await.ok(), since: Instant::now() }
    }

    /// How long nothing need be seen of a part of which so much has left us.
    pub(super) fn longest_silence(&self, sent: u64) -> Duration {
        // Half of what was seen: lines get slower.
        let rate = (self.line().bytes_per_second / 2).max(SLOWEST_LINE);
        LONGEST_STALL + Duration::from_secs(sent.min(HELD_ON_THE_WAY) / rate)
    }

    fn line(&self) -> MutexGuard<'_, Line> {
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The right to send a part.
pub(super) struct Lane<'a> {
    pace: &'a Pace,
    permit: Option<SemaphorePermit<'a>>,
    since: Instant,
}

impl Lane<'_> {
    /// The part of so many bytes has arrived.
    pub(super) fn arrived(self, bytes: u64) {
        let took = self.since.elapsed();
        self.arrived_within(bytes, took);
    }

    fn arrived_within(self, bytes: u64, took: Duration) {
        let mut line = self.pace.line();
        let millis = u64::try_from(took.as_millis()).unwrap_or(u64::MAX).max(1);
        line.bytes_per_second = bytes.saturating_mul(1_000) / millis;
        if took > SLOW {
            drop(line);
            self.broke();
        } else if took < QUICK && line.lanes < self.pace.most {
            line.lanes += 1;
            self.pace.lanes.add_permits(1);
        }
    }

    /// It took too long, or the connection broke: fewer at the same time.
    pub(super) fn broke(mut self) {
        let mut line = self.pace.line();
        if line.lanes > 1
            && let Some(permit) = self.permit.take()
        {
            line.lanes -= 1;
            permit.forget();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many parts may go out at once.
    fn width(pace: &Pace) -> usize {
        assert_eq!(pace.line().lanes, pace.lanes.available_permits());
        pace.line().lanes
    }

    #[tokio::test]
    async fn a_quick_line_gets_more_parts_at_once_and_a_slow_one_gets_one() {
        let pace = Pace::at_most(3);
        let after = async |took| {
            pace.lane().await.arrived_within(MIB, took);
            width(&pace)
        };
        assert_eq!(width(&pace), 1);
        assert_eq!(after(Duration::from_mins(2)).await, 1, "never less than one");
        assert_eq!(after(QUICK * 2).await, 1);
        assert_eq!(after(QUICK / 2).await, 2);
        assert_eq!(after(QUICK / 2).await, 3);
        assert_eq!(after(Duration::ZERO).await, 3);
        assert_eq!(after(QUICK * 2).await, 3);
        assert_eq!(after(SLOW * 2).await, 2);
        pace.lane().await.broke();
        assert_eq!(width(&pace), 1);
        pace.lane().await.broke();
        assert_eq!(width(&pace), 1);
    }

    #[tokio::test]
    async fn silence_may_last_as_long_as_what_is_on_its_way_takes() {
        let pace = Pace::at_most(1);
        // A line of 64 kbit/s behind a system that takes 4 MiB at once.
        let takes = Duration::from_secs(4 * MIB / 8_000);
        assert!(pace.longest_silence(4 * MIB) > takes);
        pace.lane().await.arrived_within(4 * MIB, takes);
        assert!(pace.longest_silence(4 * MIB) > takes);
        pace.lane().await.arrived_within(8 * MIB, Duration::from_secs(1));
        assert!(pace.longest_silence(8 * MIB) < LONGEST_STALL + Duration::from_secs(5));
        assert_eq!(pace.longest_silence(0), LONGEST_STALL);
    }
}

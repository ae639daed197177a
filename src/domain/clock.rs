//! The clock.
//!
//! Owns the only place that reads the system clock. Tests replace it and move time. Times are UTC and truncated to
//! microseconds, the precision of PostgreSQL, so a value that is read back equals the one that was written.

use chrono::{DateTime, SubsecRound, TimeDelta, Utc};
use parking_lot::Mutex;

/// A moment in UTC, with microseconds.
pub type Timestamp = DateTime<Utc>;

/// Whether less than `age` has passed since `at`. False if the clock was set back since then: the age is unknown.
pub fn is_younger(at: Timestamp, age: TimeDelta, now: Timestamp) -> bool {
    at <= now && now < at + age
}

/// A source of the present time.
pub trait Clock: Send + Sync {
    /// Now, truncated to microseconds.
    fn now(&self) -> Timestamp;
}

/// The machine's clock.
#[derive(Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        #[expect(clippy::disallowed_methods, reason = "the one place that reads the system clock")]
        Utc::now().trunc_subsecs(6)
    }
}

/// A clock for tests. It shows the same time until a test moves it.
#[derive(Debug)]
pub struct ManualClock(Mutex<Timestamp>);

impl ManualClock {
    /// A clock that shows `now`.
    pub fn new(now: Timestamp) -> Self {
        Self(Mutex::new(now.trunc_subsecs(6)))
    }

    /// Moves the clock.
    pub fn advance(&self, by: TimeDelta) {
        let mut now = self.0.lock();
        *now += by;
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        *self.0.lock()
    }
}

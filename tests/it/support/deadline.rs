//! Waiting that ends: a test that hangs fails and says where.

use std::time::{Duration, Instant};

/// Longer than anything takes on a busy machine.
const LONGEST: Duration = Duration::from_mins(1);

/// The end of a wait.
pub(crate) struct Deadline(Instant);

impl Deadline {
    pub(crate) fn new() -> Self {
        Self(Instant::now() + LONGEST)
    }

    /// Gives way to other threads, and fails the test once the deadline has passed.
    #[track_caller]
    pub(crate) fn wait_for(&self, what: &str) {
        assert!(Instant::now() < self.0, "waited for {what} for {LONGEST:?}");
        std::thread::yield_now();
    }
}

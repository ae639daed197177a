//! Waits with a deadline: a test that hangs fails with the place where it waits.

use std::{
    panic::Location,
    time::{Duration, Instant},
};

/// Longer than every operation takes on a busy machine.
const LONGEST: Duration = Duration::from_mins(1);
/// The pause between two checks, so that waiting does not use a core.
const PAUSE: Duration = Duration::from_millis(1);

/// The end of a wait.
pub(crate) struct Deadline(Instant);

impl Deadline {
    pub(crate) fn new() -> Self {
        Self(Instant::now() + LONGEST)
    }

    /// Pauses before the next check. Fails the test after the deadline.
    #[track_caller]
    pub(crate) fn wait_for(&self, what: &str) {
        self.check(what, Location::caller());
        std::thread::sleep(PAUSE);
    }

    /// Checks until the condition holds. Fails the test after the deadline.
    #[track_caller]
    pub(crate) fn until(&self, what: &str, mut is_so: impl AsyncFnMut() -> bool) -> impl Future<Output = ()> {
        let caller = Location::caller();
        async move {
            while !is_so().await {
                self.check(what, caller);
                tokio::time::sleep(PAUSE).await;
            }
        }
    }

    fn check(&self, what: &str, caller: &Location<'_>) {
        assert!(Instant::now() < self.0, "waited for {what} for {LONGEST:?} at {caller}");
    }
}

/// The output of the future. Fails the test after the deadline.
#[track_caller]
pub(crate) fn in_time<F: Future>(waited_for: F) -> impl Future<Output = F::Output> {
    let caller = Location::caller();
    async move {
        let in_time = tokio::time::timeout(LONGEST, waited_for).await;
        in_time.unwrap_or_else(|_| panic!("waited for {LONGEST:?} at {caller}"))
    }
}

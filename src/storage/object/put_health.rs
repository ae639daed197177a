//! Whether the object store accepts puts, for the readiness check.
//!
//! Owns the outcomes of recent puts. A store can answer lists and still refuse puts, for example if the access key has no
//! write permission or the quota is full. Such a store is not ready. While puts fail, the readiness check puts a small
//! object itself. Does not own the check's route: that is `rest/health.rs`.

use std::time::{Duration, Instant};

use object_store::Error as StoreError;
use parking_lot::{Mutex, MutexGuard};

use super::answers::{ANSWER_TIMEOUT, with_timeout};
use crate::storage::{Error, Result};

/// After this many consecutive failures, the check fails without a probe for `FAILURE_WINDOW` after the last one.
const MAX_FAILURES: u32 = 3;
const FAILURE_WINDOW: Duration = Duration::from_secs(30);
/// How long the outcome of a probe is valid.
const PROBE_TTL: Duration = Duration::from_secs(5);

#[derive(Debug, Default)]
pub(super) struct PutHealth(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    failures: u32,
    failed_at: Option<Instant>,
    /// When the last probe ended, and whether it succeeded.
    probe: Option<(Instant, bool)>,
}

impl PutHealth {
    /// Records the outcome of a part's put. `Error::Lost` does not count: it concerns one upload, not the store.
    pub(super) fn observe<T>(&self, put: &Result<T>) {
        let mut state = self.state();
        match put {
            Ok(_) => *state = State::default(),
            Err(Error::Lost(_)) => {}
            Err(_) => {
                state.failures = state.failures.saturating_add(1);
                state.failed_at = Some(Instant::now());
            }
        }
    }

    /// Fails while the store refuses puts. Calls `put` as a probe only if the last put of a part failed.
    pub(super) async fn check<T, F>(&self, put: impl FnOnce() -> F) -> Result<()>
    where
        F: Future<Output = Result<T, StoreError>>,
    {
        let is_recent = |at: Instant, span| at.elapsed() < span;
        let probed = {
            let state = self.state();
            if state.failures == 0 {
                return Ok(());
            }
            if state.failures >= MAX_FAILURES && state.failed_at.is_some_and(|at| is_recent(at, FAILURE_WINDOW)) {
                return Err(not_accepted(format!("the last {} puts failed", state.failures)));
            }
            state.probe.filter(|(at, _)| is_recent(*at, PROBE_TTL)).map(|(_, succeeded)| succeeded)
        };
        match probed {
            Some(true) => Ok(()),
            Some(false) => Err(not_accepted("the last probe failed".to_owned())),
            None => {
                let probe = with_timeout("put a small object", ANSWER_TIMEOUT, put()).await;
                self.state().probe = Some((Instant::now(), probe.is_ok()));
                probe.map(drop)
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock()
    }
}

fn not_accepted(reason: String) -> Error {
    Error::Store { action: "put parts".to_owned(), source: reason.into() }
}

//! Whether the store takes what is put, for readiness.
//!
//! Owns what is remembered of past puts. A store that can be listed and takes nothing (a key without the right, a full
//! quota) is not ready; while puts fail, each readiness check tries a small one.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use object_store::Error as StoreError;

use super::answers::{SILENCE, in_time};
use crate::storage::{Error, Result};

/// So many failures in a row, the last one not long ago, need no further try.
const MANY: u32 = 3;
const NOT_LONG: Duration = Duration::from_secs(30);
/// How long the outcome of a try counts.
const TRY_COUNTS: Duration = Duration::from_secs(5);

#[derive(Debug, Default)]
pub(super) struct Puts(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    failures: u32,
    failed_at: Option<Instant>,
    /// When a small put was tried last, and whether it was taken.
    tried: Option<(Instant, bool)>,
}

impl Puts {
    /// Notes how a part's put ended. That its upload is gone says nothing of the store.
    pub(super) fn note<T>(&self, put: &Result<T>) {
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

    /// Fails while nothing can be put. Tries itself, with `put`, only after a part's put failed.
    pub(super) async fn check<T, F>(&self, put: impl FnOnce() -> F) -> Result<()>
    where
        F: Future<Output = Result<T, StoreError>>,
    {
        let recently = |at: Instant, span| at.elapsed() < span;
        let tried = {
            let state = self.state();
            if state.failures == 0 {
                return Ok(());
            }
            if state.failures >= MANY && state.failed_at.is_some_and(|at| recently(at, NOT_LONG)) {
                return Err(fails(format!("the last {} failed", state.failures)));
            }
            state.tried.filter(|(at, _)| recently(*at, TRY_COUNTS)).map(|(_, was_taken)| was_taken)
        };
        match tried {
            Some(true) => Ok(()),
            Some(false) => Err(fails("a small one failed just now".to_owned())),
            None => {
                let taken = in_time("put a small object", SILENCE, put()).await;
                self.state().tried = Some((Instant::now(), taken.is_ok()));
                taken.map(drop)
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn fails(how: String) -> Error {
    Error::Store { action: "put parts".to_owned(), source: how.into() }
}

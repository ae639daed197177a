//! Trying again.
//!
//! Owns how often and for how long. What may be tried again is the error's to say.

use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use super::upload::{Event, UploadError};

const FIRST_PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(8);
/// How long nothing at all may succeed before it is given up.
const PATIENCE: Duration = Duration::from_mins(5);

/// Tries again what may succeed later, until nothing at all has succeeded for long.
pub(super) struct Patience(Mutex<Instant>);

impl Patience {
    pub(super) fn new() -> Self {
        Self(Mutex::new(Instant::now()))
    }

    pub(super) fn renew(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    /// Whether it has been tried since `failing_since` without anything succeeding meanwhile, here or elsewhere.
    fn is_over(&self, failing_since: Instant) -> bool {
        let succeeded = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        succeeded.max(failing_since).elapsed() > PATIENCE
    }

    pub(super) async fn insist<T, F: Future<Output = Result<T, UploadError>>>(
        &self,
        on: &dyn Fn(Event),
        attempt: impl Fn() -> F,
    ) -> Result<T, UploadError> {
        let (mut pause, mut failing_since) = (FIRST_PAUSE, None);
        loop {
            match attempt().await {
                Ok(value) => {
                    self.renew();
                    return Ok(value);
                }
                Err(error)
                    if error.is_retryable() && !self.is_over(*failing_since.get_or_insert_with(Instant::now)) =>
                {
                    on(Event::Retrying { reason: error.to_string() });
                    tokio::time::sleep(pause).await;
                    pause = LONGEST_PAUSE.min(pause * 2);
                }
                Err(error) => return Err(error),
            }
        }
    }
}

//! Trying again.
//!
//! Owns how often and for how long. What may be tried again is the error's to say.

use std::{
    error::Error,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use super::failure::{ClientError, in_one_line};

const FIRST_PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(8);
/// How long the client reconnects after broken connections while this address has never answered.
const UNTIL_FIRST_ANSWER: Duration = Duration::from_secs(10);

/// What can be tried again.
pub trait Failure: Error + 'static {
    /// Whether trying again may help.
    fn is_retryable(&self) -> bool;
    /// The request that failed, if it was one.
    fn as_client_error(&self) -> Option<&ClientError>;
}

impl Failure for ClientError {
    fn is_retryable(&self) -> bool {
        Self::is_retryable(self)
    }

    fn as_client_error(&self) -> Option<&ClientError> {
        Some(self)
    }
}

/// Tries again what may succeed later, until there was no progress for long. Shared by everything that is done at once:
/// what succeeds in one place gives the others time anew.
#[derive(Debug)]
pub struct Patience {
    retry_for: Duration,
    progress: Mutex<Progress>,
}

#[derive(Clone, Copy, Debug)]
struct Progress {
    /// Somebody has answered at this address.
    is_known: bool,
    successes: u64,
    /// When bytes went out last.
    moved: Instant,
}

impl Patience {
    /// Allows `retry_for` without progress. Zero fails at the first error.
    pub fn new(retry_for: Duration) -> Self {
        let progress = Progress { is_known: false, successes: 0, moved: Instant::now() };
        Self { retry_for, progress: Mutex::new(progress) }
    }

    /// Something succeeded.
    pub(super) fn renew(&self) {
        let mut progress = self.progress();
        progress.is_known = true;
        progress.successes += 1;
    }

    /// Bytes went out. While they do, no time is lost; but they are no success before they are acknowledged.
    pub(super) fn moved(&self) {
        self.progress().moved = Instant::now();
    }

    /// Does it until it succeeds, fails for good, or there was no progress for long.
    ///
    /// # Errors
    /// The last one.
    pub async fn insist<T, E: Failure, F: Future<Output = Result<T, E>>>(
        &self,
        on_retry: &(dyn Fn(String) + Sync),
        attempt: impl Fn() -> F,
    ) -> Result<T, E> {
        let (mut pause, mut lost) = (FIRST_PAUSE, Lost::since_now(self));
        loop {
            let error = match attempt().await {
                Ok(value) => {
                    self.renew();
                    return Ok(value);
                }
                Err(error) => error,
            };
            let left = self.limit(&error).checked_sub(lost.so_far(self)).filter(|left| !left.is_zero());
            let Some(left) = left.filter(|_| error.is_retryable()) else { return Err(error) };
            on_retry(in_one_line(&error));
            let asked_for = error.as_client_error().and_then(ClientError::retry_after).unwrap_or_default();
            tokio::time::sleep(pause.max(asked_for).min(left)).await;
            lost.so_far(self);
            pause = LONGEST_PAUSE.min(pause * 2);
        }
    }

    fn limit(&self, error: &impl Failure) -> Duration {
        let mut progress = self.progress();
        let Some(error) = error.as_client_error() else { return self.retry_for };
        progress.is_known |= error.is_answer();
        match progress.is_known {
            true => self.retry_for,
            false if error.looks_like_wrong_address() => Duration::ZERO,
            false => self.retry_for.min(UNTIL_FIRST_ANSWER),
        }
    }

    fn progress(&self) -> MutexGuard<'_, Progress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The time without progress in a row of failures.
struct Lost {
    total: Duration,
    counted_until: Instant,
    successes: u64,
}

impl Lost {
    fn since_now(patience: &Patience) -> Self {
        Self { total: Duration::ZERO, counted_until: Instant::now(), successes: patience.progress().successes }
    }

    /// Time in which bytes went out does not count, and a success begins anew.
    fn so_far(&mut self, patience: &Patience) -> Duration {
        let (now, progress) = (Instant::now(), *patience.progress());
        if self.successes == progress.successes {
            self.total += now.saturating_duration_since(self.counted_until.max(progress.moved));
        } else {
            self.total = Duration::ZERO;
        }
        self.successes = progress.successes;
        self.counted_until = now;
        self.total
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    fn refused(retry_after: Option<Duration>) -> ClientError {
        let status = reqwest::StatusCode::SERVICE_UNAVAILABLE;
        ClientError::Foreign { status, detail: "503".to_owned(), retryable: true, retry_after }
    }

    async fn tries_within(retry_for: Duration, error: impl Fn() -> ClientError) -> (u32, Duration) {
        let (tries, begun) = (Cell::new(0), Instant::now());
        let result: Result<(), _> = Patience::new(retry_for)
            .insist(&|_| (), || {
                tries.set(tries.get() + 1);
                std::future::ready(Err(error()))
            })
            .await;
        assert!(result.is_err());
        (tries.get(), begun.elapsed())
    }

    #[tokio::test]
    async fn it_ends_when_the_time_is_over_and_tries_once_more_then() {
        assert_eq!(tries_within(Duration::ZERO, || refused(None)).await.0, 1);
        let (tries, took) = tries_within(Duration::from_millis(300), || refused(None)).await;
        assert_eq!(tries, 3, "at 0, 250 and 300 ms");
        assert!(took < Duration::from_secs(5));
    }

    #[tokio::test]
    async fn what_the_server_asks_for_is_waited_but_no_longer_than_patience_lasts() {
        let (tries, took) = tries_within(Duration::from_millis(300), || refused(Some(Duration::from_hours(1)))).await;
        assert_eq!(tries, 2);
        assert!(took >= Duration::from_millis(300) && took < Duration::from_secs(5), "{took:?}");
    }

    #[tokio::test]
    async fn time_in_which_bytes_went_out_is_not_lost() {
        let patience = Patience::new(Duration::from_hours(1));
        let mut lost = Lost::since_now(&patience);
        tokio::time::sleep(Duration::from_millis(50)).await;
        patience.moved();
        assert!(lost.so_far(&patience) < Duration::from_millis(50));
        tokio::time::sleep(Duration::from_millis(50)).await;
        assert!(lost.so_far(&patience) >= Duration::from_millis(50));
        patience.renew();
        assert!(lost.so_far(&patience).is_zero());
    }
}

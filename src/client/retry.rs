//! The retry policy: backoff, `Retry-After`, and a limit on the time without progress.
//!
//! Owns when and for how long the client tries again. Does not decide which errors are retryable: that is `Retryable`,
//! which each error type implements.

use std::{
    error::Error,
    time::{Duration, Instant},
};

use super::error::{ClientError, in_one_line};
use parking_lot::{Mutex, MutexGuard};

/// The wait before the first retry. Each further wait is twice as long, up to `MAX_BACKOFF`.
const INITIAL_BACKOFF: Duration = Duration::from_millis(250);
const MAX_BACKOFF: Duration = Duration::from_secs(8);
/// How long the client retries broken connections while it has received no response from this address.
const MAX_TIME_TO_FIRST_RESPONSE: Duration = Duration::from_secs(10);

/// An error that the retry policy can classify.
pub trait Retryable: Error + 'static {
    /// Whether a retry may succeed.
    fn is_retryable(&self) -> bool;
    /// The error of the request that failed, if a request failed.
    fn as_client_error(&self) -> Option<&ClientError>;
}

impl Retryable for ClientError {
    fn is_retryable(&self) -> bool {
        Self::is_retryable(self)
    }

    fn as_client_error(&self) -> Option<&ClientError> {
        Some(self)
    }
}

/// Retries requests until there was no progress for a given time. All concurrent requests of an upload share one policy:
/// a success of one request restarts the time limit of the others.
#[derive(Debug)]
pub struct RetryPolicy {
    retry_for: Duration,
    progress: Mutex<Progress>,
}

#[derive(Clone, Copy, Debug)]
struct Progress {
    /// Whether the client has received any response from this address.
    has_response: bool,
    successes: u64,
    /// When the client last sent or received bytes of a file.
    last_moved: Instant,
}

impl RetryPolicy {
    /// Retries for at most `retry_for` without progress. With zero, the first error is final.
    pub fn new(retry_for: Duration) -> Self {
        let progress = Progress { has_response: false, successes: 0, last_moved: Instant::now() };
        Self { retry_for, progress: Mutex::new(progress) }
    }

    /// Notes that a request succeeded.
    pub(super) fn note_success(&self) {
        let mut progress = self.progress();
        progress.has_response = true;
        progress.successes += 1;
    }

    /// Whether any request has succeeded.
    pub(super) fn has_succeeded(&self) -> bool {
        self.progress().successes > 0
    }

    /// Notes that the client sent bytes of a part, or received bytes of a download. This pauses the time limit. It does not
    /// restart it: only a response from the server does.
    pub(super) fn note_bytes_moved(&self) {
        self.progress().last_moved = Instant::now();
    }

    /// Calls `attempt` until it succeeds, returns an error that is not retryable, or exceeds the time limit. Calls
    /// `on_retry` with the reason before each wait.
    ///
    /// # Errors
    /// The error of the last attempt.
    pub async fn run<T, E: Retryable, F: Future<Output = Result<T, E>>>(
        &self,
        on_retry: &(dyn Fn(String) + Sync),
        attempt: impl Fn() -> F,
    ) -> Result<T, E> {
        let (mut backoff, mut stalled) = (INITIAL_BACKOFF, TimeWithoutProgress::from_now(self));
        loop {
            let error = match attempt().await {
                Ok(value) => {
                    self.note_success();
                    return Ok(value);
                }
                Err(error) => error,
            };
            let left = self.limit(&error).checked_sub(stalled.update(self)).filter(|left| !left.is_zero());
            let Some(left) = left.filter(|_| error.is_retryable()) else { return Err(error) };
            on_retry(in_one_line(&error));
            let retry_after = error.as_client_error().and_then(ClientError::retry_after).unwrap_or_default();
            tokio::time::sleep(backoff.max(retry_after).min(left)).await;
            stalled.update(self);
            backoff = MAX_BACKOFF.min(backoff * 2);
        }
    }

    fn limit(&self, error: &impl Retryable) -> Duration {
        let mut progress = self.progress();
        let Some(error) = error.as_client_error() else { return self.retry_for };
        progress.has_response |= error.is_response();
        match progress.has_response {
            true => self.retry_for,
            false if error.looks_like_wrong_address() => Duration::ZERO,
            false => self.retry_for.min(MAX_TIME_TO_FIRST_RESPONSE),
        }
    }

    fn progress(&self) -> MutexGuard<'_, Progress> {
        self.progress.lock()
    }
}

/// The time without progress during consecutive failures of one request.
struct TimeWithoutProgress {
    total: Duration,
    counted_until: Instant,
    successes: u64,
}

impl TimeWithoutProgress {
    fn from_now(policy: &RetryPolicy) -> Self {
        Self { total: Duration::ZERO, counted_until: Instant::now(), successes: policy.progress().successes }
    }

    /// Adds the time since the last call and returns the total. The time until the last byte moved does not count. A
    /// success of any request resets the total to zero.
    fn update(&mut self, policy: &RetryPolicy) -> Duration {
        let (now, progress) = (Instant::now(), *policy.progress());
        if self.successes == progress.successes {
            self.total += now.saturating_duration_since(self.counted_until.max(progress.last_moved));
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

    fn unavailable(retry_after: Option<Duration>) -> ClientError {
        let status = reqwest::StatusCode::SERVICE_UNAVAILABLE;
        ClientError::NotPartway { status, detail: "503".to_owned(), retryable: true, retry_after }
    }

    /// The number of attempts within this time limit, and the time that they took.
    async fn attempts_within(retry_for: Duration, error: impl Fn() -> ClientError) -> (u32, Duration) {
        let (attempts, start) = (Cell::new(0), Instant::now());
        let result: Result<(), _> = RetryPolicy::new(retry_for)
            .run(&|_| (), || {
                attempts.set(attempts.get() + 1);
                std::future::ready(Err(error()))
            })
            .await;
        assert!(result.is_err());
        (attempts.get(), start.elapsed())
    }

    #[tokio::test]
    async fn the_policy_makes_its_last_attempt_at_the_time_limit() {
        assert_eq!(attempts_within(Duration::ZERO, || unavailable(None)).await.0, 1);
        let (attempts, took) = attempts_within(Duration::from_millis(300), || unavailable(None)).await;
        assert_eq!(attempts, 3, "at 0, 250 and 300 ms");
        assert!(took < Duration::from_secs(5));
    }

    #[tokio::test]
    async fn the_policy_waits_for_retry_after_but_not_beyond_the_time_limit() {
        let hour = Some(Duration::from_hours(1));
        let (attempts, took) = attempts_within(Duration::from_millis(300), || unavailable(hour)).await;
        assert_eq!(attempts, 2);
        assert!(took >= Duration::from_millis(300) && took < Duration::from_secs(5), "{took:?}");
    }

    #[tokio::test]
    async fn time_in_which_the_client_sent_bytes_does_not_count() {
        let policy = RetryPolicy::new(Duration::from_hours(1));
        let mut stalled = TimeWithoutProgress::from_now(&policy);
        tokio::time::sleep(Duration::from_millis(50)).await;
        policy.note_bytes_moved();
        assert!(stalled.update(&policy) < Duration::from_millis(50));
        tokio::time::sleep(Duration::from_millis(50)).await;
        assert!(stalled.update(&policy) >= Duration::from_millis(50));
        policy.note_success();
        assert!(stalled.update(&policy).is_zero());
    }
}

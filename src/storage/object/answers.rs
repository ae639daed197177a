//! Interprets an object store's answers and enforces timeouts.
//!
//! Owns which errors are a refusal and how long a request may wait for its answer. Does not own retries: the crate
//! `object_store` does them.

use std::{error::Error as StdError, time::Duration};

use object_store::Error as StoreError;

use crate::storage::{Error, Result};

/// How long a request without a large body may wait for its answer.
pub(super) const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);
/// The slowest rate at which the store must accept a part: 1 MiB per second.
const MIN_BYTES_PER_SECOND: u64 = 1024 * 1024;

/// How long the put of a part with this many bytes may take.
pub(super) fn put_timeout(bytes: u64) -> Duration {
    ANSWER_TIMEOUT + Duration::from_secs(bytes / MIN_BYTES_PER_SECOND)
}

/// Cancels the request if it has no answer after `limit`. That also frees the memory that the request holds.
pub(super) async fn with_timeout<T>(
    action: &str,
    limit: Duration,
    request: impl Future<Output = Result<T, StoreError>>,
) -> Result<T> {
    match tokio::time::timeout(limit, request).await {
        Ok(answer) => answer.map_err(failed(action)),
        Err(late) => Err(Error::Store { action: format!("{action} within {limit:?}"), source: late.into() }),
    }
}

pub(super) fn failed(action: &str) -> impl FnOnce(StoreError) -> Error {
    let action = action.to_owned();
    move |error| match error {
        StoreError::NotFound { path, .. } => Error::Lost(format!("{action}: {path} does not exist")),
        error if is_refusal(&error) => Error::Refused { action, source: error.into() },
        error => Error::Store { action, source: error.into() },
    }
}

/// Whether the store answered the first and only attempt with a 4xx status. After several attempts, an earlier one may still
/// take effect. The crate exposes the status and the number of attempts only in the error's text.
fn is_refusal(error: &StoreError) -> bool {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(source) = next {
        text += &source.to_string();
        next = source.source();
    }
    text.contains("non-2xx status code: 4") && !text.contains(" retries, max_retries")
}

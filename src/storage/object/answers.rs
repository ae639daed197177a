//! What an object store's answer, or its silence, means.
//!
//! Owns which failures are a refusal, and how long silence is borne. Trying again is the crate `object_store`'s.

use std::{error::Error as StdError, time::Duration};

use object_store::Error as StoreError;

use crate::storage::{Error, Result};

/// How long the store may be silent.
pub(super) const SILENCE: Duration = Duration::from_secs(30);
/// How fast it takes a part at the least.
const LEAST_BYTES_A_SECOND: u64 = 1024 * 1024;

/// How long it may take to put so much.
pub(super) fn longest_put(bytes: u64) -> Duration {
    SILENCE + Duration::from_secs(bytes / LEAST_BYTES_A_SECOND)
}

/// Gives a request up that has no answer after `limit`, and the memory that it holds with it.
pub(super) async fn in_time<T>(
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
        StoreError::NotFound { path, .. } => Error::Lost(format!("{action}: {path} is not there")),
        error if is_refusal(&error) => Error::Refused { action, source: error.into() },
        error => Error::Store { action, source: error.into() },
    }
}

/// Whether the store answered the only try with a 4xx. The crate tells status and number of tries in words alone; after
/// more than one try an earlier one may still be on its way.
fn is_refusal(error: &StoreError) -> bool {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(source) = next {
        text += &source.to_string();
        next = source.source();
    }
    text.contains("non-2xx status code: 4") && !text.contains(" retries, max_retries")
}

//! Reading of responses.
//!
//! Owns the difference between a response of Partway and one of a proxy or another server. Does not decide what a response
//! means for the upload: that is `session_upload`.

use std::time::{Duration, SystemTime};

use reqwest::{
    RequestBuilder, Response, StatusCode, Url,
    header::{self, HeaderMap},
};
use serde::de::DeserializeOwned;

use super::{bodies::ProblemBody, error::ClientError};

/// Client errors that a proxy sends for temporary problems. 499 is nginx's code for a client that closed the connection.
const TEMPORARY_CLIENT_ERRORS: [u16; 4] = [408, 425, 429, 499];
/// Server errors that a retry does not solve: not implemented, HTTP version not supported, network login required.
const PERMANENT_SERVER_ERRORS: [u16; 3] = [501, 505, 511];

/// Sends a request and reads the JSON of its response.
pub(super) async fn json<T: DeserializeOwned>(request: RequestBuilder) -> Result<T, ClientError> {
    let response = send(request).await?;
    let head = ResponseHead::of(&response);
    let bytes = response.bytes().await?;
    serde_json::from_slice(&bytes).map_err(|_| head.not_partway(false))
}

/// Sends a request. A response without a success status is an error.
pub(super) async fn send(request: RequestBuilder) -> Result<Response, ClientError> {
    let response = request.send().await?;
    let status = response.status();
    if status.is_success() {
        return Ok(response);
    }
    let head = ResponseHead::of(&response);
    if let Some(to) = head.redirect(response.headers()) {
        return Err(ClientError::Redirected { from: head.url.to_string(), to });
    }
    let problem: Option<ProblemBody> = serde_json::from_slice(&response.bytes().await.unwrap_or_default()).ok();
    let Some(ProblemBody { code, detail, retryable }) = problem.filter(|problem| !problem.code.is_empty()) else {
        let is_temporary = status.is_server_error() && !PERMANENT_SERVER_ERRORS.contains(&status.as_u16());
        return Err(head.not_partway(is_temporary || TEMPORARY_CLIENT_ERRORS.contains(&status.as_u16())));
    };
    // Any server error may be temporary. A retry costs only time.
    let retryable = retryable || status.is_server_error();
    Err(ClientError::Refused { status, code, detail, retryable, retry_after: head.retry_after })
}

/// The parts of a response that an error needs after the body was read.
pub(super) struct ResponseHead {
    url: Url,
    status: StatusCode,
    media_type: String,
    retry_after: Option<Duration>,
}

impl ResponseHead {
    pub(super) fn of(response: &Response) -> Self {
        let headers = response.headers();
        let media_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
        Self {
            url: response.url().clone(),
            status: response.status(),
            media_type: media_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase(),
            retry_after: retry_after(headers),
        }
    }

    pub(super) fn has_media_type(&self, media_type: &str) -> bool {
        self.media_type == media_type
    }

    fn redirect(&self, headers: &HeaderMap) -> Option<String> {
        let location = headers.get(header::LOCATION).filter(|_| self.status.is_redirection())?.to_str().ok()?;
        Some(self.url.join(location).map_or_else(|_| location.to_owned(), String::from))
    }

    /// The error for a response that does not come from Partway.
    pub(super) fn not_partway(self, retryable: bool) -> ClientError {
        let Self { url, status, media_type, retry_after } = self;
        let with = if media_type.is_empty() { String::new() } else { format!(" with {media_type}") };
        let hint = if retryable { "" } else { ", which is not a response of a Partway server; is the address right?" };
        let detail = format!("{url} answered {status}{with}{hint}");
        ClientError::NotPartway { status, detail, retryable, retry_after }
    }
}

/// `Retry-After` ([RFC 9110 §10.2.3](https://www.rfc-editor.org/rfc/rfc9110#section-10.2.3)): seconds, or a time. A time is
/// compared with the response's `Date`, so that the clocks need not agree.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok()).map(str::trim);
    let time = |name| text(name).and_then(|text| httpdate::parse_http_date(text).ok());
    if let Ok(seconds) = text(header::RETRY_AFTER)?.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let now = time(header::DATE).unwrap_or_else(SystemTime::now);
    Some(time(header::RETRY_AFTER)?.duration_since(now).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use reqwest::header::HeaderValue;

    use super::*;

    #[test]
    fn retry_after_is_seconds_or_a_time_of_the_servers_clock() {
        let parsed = |value: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::DATE, HeaderValue::from_static("Sun, 06 Nov 1994 08:49:37 GMT"));
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static(value));
            retry_after(&headers)
        };
        assert_eq!(parsed(" 7 "), Some(Duration::from_secs(7)));
        assert_eq!(parsed("Sun, 06 Nov 1994 08:50:07 GMT"), Some(Duration::from_secs(30)));
        assert_eq!(parsed("Sunday, 06-Nov-94 08:49:36 GMT"), Some(Duration::ZERO), "a time in the past");
        for invalid in ["", "soon", "-1", "1.5"] {
            assert_eq!(parsed(invalid), None, "{invalid}");
        }
        assert_eq!(retry_after(&HeaderMap::new()), None);
    }
}

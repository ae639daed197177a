//! Reading answers.
//!
//! Owns telling Partway's answers from those of proxies and of other servers. What an answer means for the upload is not
//! decided here.

use std::time::{Duration, SystemTime};

use reqwest::{
    RequestBuilder, Response, StatusCode, Url,
    header::{self, HeaderMap},
};
use serde::de::DeserializeOwned;

use super::{bodies::ProblemBody, failure::ClientError};

/// What proxies answer while the server behind them, or the line, is not ready. 499 is nginx's word for a client that left.
const PASSING: [u16; 4] = [408, 425, 429, 499];
/// Server errors that stay: what was asked for is not there, or the network wants a login.
const LASTING: [u16; 3] = [501, 505, 511];

/// Sends a request and reads its answer.
pub(super) async fn json<T: DeserializeOwned>(request: RequestBuilder) -> Result<T, ClientError> {
    let response = send(request).await?;
    let about = About::of(&response);
    let bytes = response.bytes().await?;
    serde_json::from_slice(&bytes).map_err(|_| about.foreign(false))
}

/// Sends a request. An answer that is no success is an error.
pub(super) async fn send(request: RequestBuilder) -> Result<Response, ClientError> {
    let response = request.send().await?;
    let status = response.status();
    if status.is_success() {
        return Ok(response);
    }
    let about = About::of(&response);
    if let Some(to) = about.redirect(response.headers()) {
        return Err(ClientError::Redirected { from: about.url.to_string(), to });
    }
    let problem: Option<ProblemBody> = serde_json::from_slice(&response.bytes().await.unwrap_or_default()).ok();
    let Some(ProblemBody { code, detail, retryable }) = problem.filter(|problem| !problem.code.is_empty()) else {
        let is_passing = status.is_server_error() && !LASTING.contains(&status.as_u16());
        return Err(about.foreign(is_passing || PASSING.contains(&status.as_u16())));
    };
    // A server's fault may be a passing one; all that a client can lose by trying again is time.
    let retryable = retryable || status.is_server_error();
    Err(ClientError::Refused { status, code, detail, retryable, retry_after: about.retry_after })
}

/// An answer without its body.
pub(super) struct About {
    url: Url,
    status: StatusCode,
    media_type: String,
    retry_after: Option<Duration>,
}

impl About {
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

    pub(super) fn is_of(&self, media_type: &str) -> bool {
        self.media_type == media_type
    }

    fn redirect(&self, headers: &HeaderMap) -> Option<String> {
        let location = headers.get(header::LOCATION).filter(|_| self.status.is_redirection())?.to_str().ok()?;
        Some(self.url.join(location).map_or_else(|_| location.to_owned(), String::from))
    }

    /// The error that this is no answer of Partway's.
    pub(super) fn foreign(self, retryable: bool) -> ClientError {
        let Self { url, status, media_type, retry_after } = self;
        let with = if media_type.is_empty() { String::new() } else { format!(" with {media_type}") };
        let doubt = if retryable { "" } else { ", as no Partway server does; is the address right?" };
        let detail = format!("{url} answered {status}{with}{doubt}");
        ClientError::Foreign { status, detail, retryable, retry_after }
    }
}

/// `Retry-After` ([RFC 9110 §10.2.3](https://www.rfc-editor.org/rfc/rfc9110#section-10.2.3)): seconds, or a time by the
/// sender's clock.
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
    fn retry_after_is_seconds_or_a_time_by_the_servers_clock() {
        let said = |value: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::DATE, HeaderValue::from_static("Sun, 06 Nov 1994 08:49:37 GMT"));
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static(value));
            retry_after(&headers)
        };
        assert_eq!(said(" 7 "), Some(Duration::from_secs(7)));
        assert_eq!(said("Sun, 06 Nov 1994 08:50:07 GMT"), Some(Duration::from_secs(30)));
        assert_eq!(said("Sunday, 06-Nov-94 08:49:36 GMT"), Some(Duration::ZERO), "it is past");
        for nonsense in ["", "soon", "-1", "1.5"] {
            assert_eq!(said(nonsense), None, "{nonsense}");
        }
        assert_eq!(retry_after(&HeaderMap::new()), None);
    }
}

//! Errors as problem details ([RFC 9457](https://www.rfc-editor.org/rfc/rfc9457)).
//!
//! Owns the shape. A handler only names the error; the body is written on the way out, where the request id is known.

use std::sync::Arc;

use axum::{
    body::Body,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::Serialize;
use serde_json::{Map, Value};
use tower_http::request_id::RequestId;

use super::auth;
use crate::error::{Code, Error};

/// Seconds after which to try again what may then succeed.
const RETRY_AFTER: &str = "1";

/// An error on its way out.
#[derive(Debug)]
pub struct Problem(pub Error);

impl<E: Into<Error>> From<E> for Problem {
    fn from(error: E) -> Self {
        Self(error.into())
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        Self::shared(Arc::new(self.0))
    }
}

impl Problem {
    /// The answer that carries an error.
    pub(super) fn shared(error: Arc<Error>) -> Response {
        let status = StatusCode::from_u16(error.code().http_status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = status.into_response();
        response.extensions_mut().insert(error);
        response
    }
}

#[derive(Serialize)]
struct ProblemBody<'a> {
    title: &'a str,
    status: u16,
    code: &'a str,
    detail: &'a str,
    retryable: bool,
    request_id: &'a str,
    #[serde(flatten)]
    details: &'a Map<String, Value>,
}

/// Writes the body of a response if it carries an error, and its cause to the log.
pub(super) fn render(mut response: Response, id: &RequestId) -> Response {
    let Some(error) = response.extensions_mut().remove::<Arc<Error>>() else { return response };
    error.log();
    write(&error, response, id.header_value())
}

fn write(error: &Error, mut response: Response, request_id: &HeaderValue) -> Response {
    let (status, code) = (response.status(), error.code());
    let body = ProblemBody {
        title: status.canonical_reason().unwrap_or_default(),
        status: status.as_u16(),
        code: code.as_str(),
        detail: error.message(),
        retryable: code.is_retryable(),
        request_id: request_id.to_str().unwrap_or_default(),
        details: error.details(),
    };
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.remove(header::CONTENT_LENGTH);
    if code == Code::Unauthenticated {
        headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static(auth::CHALLENGE));
    }
    if code.is_retryable() {
        headers.insert(header::RETRY_AFTER, HeaderValue::from_static(RETRY_AFTER));
    }
    *response.body_mut() = Body::from(serde_json::to_vec(&body).unwrap_or_default());
    response
}

//! What all answers of the tus routes have in common.
//!
//! Owns the version of the protocol, the answer to `OPTIONS`, and the status of each error code for tus clients. Does not own
//! the codes: those are in `error`.

use axum::{
    extract::{FromRequestParts, Request, State},
    http::{HeaderName, HeaderValue, Method, StatusCode, request::Parts},
    middleware::Next,
    response::{IntoResponse, Response},
};

use super::{UPLOADS, checksum};
use crate::{
    error::{Code, Error},
    http::{Problem, error_of},
};

pub(super) const RESUMABLE: HeaderName = HeaderName::from_static("tus-resumable");
const VERSION: HeaderName = HeaderName::from_static("tus-version");
pub(super) const METHOD_OVERRIDE: HeaderName = HeaderName::from_static("x-http-method-override");
const SUPPORTED: HeaderValue = HeaderValue::from_static("1.0.0");
const EXTENSIONS: &str = "creation,creation-with-upload,expiration,termination,checksum";
/// The status that the checksum extension defines.
const CHECKSUM_MISMATCH: u16 = 460;

/// What `OPTIONS` tells clients.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Discovery {
    /// The size of the largest file.
    pub(crate) max_file_bytes: u64,
}

/// The layer around all tus routes. It is outside of the CORS layer, which answers every `OPTIONS` itself, and which does not
/// know the protocol's headers.
pub(crate) async fn conform(State(discovery): State<Discovery>, request: Request, next: Next) -> Response {
    let is_options = request.method() == Method::OPTIONS;
    // `/uploads/tus` has no status.
    let is_status = request.uri().path() != UPLOADS && method(&request) == "HEAD";
    let mut response = next.run(request).await;
    if is_options {
        discovery.describe(&mut response);
        return response;
    }
    response.headers_mut().insert(RESUMABLE, SUPPORTED);
    if let Some(status) = error_of(&response).and_then(|error| status(error.code())) {
        *response.status_mut() = status;
    }
    if is_status && !is_known_to_clients(response.status()) {
        *response.status_mut() = StatusCode::LOCKED;
    }
    response
}

impl Discovery {
    fn describe(self, response: &mut Response) {
        *response.status_mut() = StatusCode::NO_CONTENT;
        let headers = response.headers_mut();
        headers.insert(VERSION, SUPPORTED);
        headers.insert("tus-extension", HeaderValue::from_static(EXTENSIONS));
        headers.insert("tus-max-size", HeaderValue::from(self.max_file_bytes));
        headers.insert("tus-checksum-algorithm", HeaderValue::from_static(checksum::ALGORITHMS));
    }
}

/// The status of an error code, if it differs from the one in the table of codes. A client resumes after 409 and after a
/// server error, and fails for good after the others.
fn status(code: Code) -> Option<StatusCode> {
    match code {
        // A rival that is alive must stop. After a 409 it would ask for the offset and take over again.
        Code::Superseded => Some(StatusCode::BAD_REQUEST),
        // After a 409 the client would append its bytes to those of another file.
        Code::PartConflict => Some(StatusCode::UNPROCESSABLE_ENTITY),
        Code::SessionClosed => Some(StatusCode::GONE),
        Code::ChecksumMismatch => StatusCode::from_u16(CHECKSUM_MISMATCH).ok(),
        _ => None,
    }
}

/// The statuses of a `HEAD` from which a client draws the right conclusion. After any other one but 423, tus-js-client starts a
/// new upload from the first byte; after 423 it asks again.
fn is_known_to_clients(status: StatusCode) -> bool {
    [StatusCode::OK, StatusCode::UNAUTHORIZED, StatusCode::NOT_FOUND, StatusCode::GONE].contains(&status)
}

/// The name of the request's method. A client that cannot send `PATCH` sends a `POST` and names it in a header, in any case: the
/// crate `tus_client` writes `Patch`. Other methods cannot be overridden: a proxy or a browser treats a `GET` as harmless. A
/// name that cannot be read, or comes twice, is no method.
pub(super) fn method(request: &Request) -> String {
    let mut named = request.headers().get_all(METHOD_OVERRIDE).iter().filter(|_| request.method() == Method::POST);
    let name = match (named.next(), named.next()) {
        (None, _) => request.method().as_str(),
        (Some(name), None) => name.to_str().unwrap_or_default(),
        (Some(_), Some(_)) => "",
    };
    name.to_ascii_uppercase()
}

/// An extractor that refuses clients of another version.
pub(super) struct Versioned;

impl<S: Send + Sync> FromRequestParts<S> for Versioned {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Response> {
        if parts.headers.get(RESUMABLE).is_some_and(|version| *version == SUPPORTED) {
            return Ok(Self);
        }
        let problem = Problem(Error::unsupported_version("Tus-Resumable: 1.0.0"));
        Err(([(VERSION, SUPPORTED)], problem).into_response())
    }
}

//! Errors as problem details ([RFC 9457](https://www.rfc-editor.org/rfc/rfc9457)).
//!
//! Owns the JSON of an error, and the status and the headers for each code. A handler returns a [`Problem`]; the layer in
//! `observe.rs` writes the body, which contains the request's id.

use std::{borrow::Cow, sync::Arc};

use axum::{
    body::Body,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::Serialize;
use serde_json::{Map, Value};
use tower_http::request_id::RequestId;
use utoipa::ToSchema;

use super::{auth, json_body};
use crate::error::{Code, Error};

/// Seconds in `Retry-After`.
const RETRY_AFTER: &str = "1";

/// An error as an answer.
#[derive(Debug)]
pub(crate) struct Problem(pub Error);

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
    /// The answer for an error, with the error in its extensions and no body yet.
    pub(super) fn shared(error: Arc<Error>) -> Response {
        let mut response = head(error.code());
        response.extensions_mut().insert(error);
        response
    }
}

/// The error that an answer carries, before the layer in `observe.rs` writes the body.
pub(crate) fn error_of(response: &Response) -> Option<&Error> {
    response.extensions().get::<Arc<Error>>().map(|error| &**error)
}

/// An answer without a body: the status and the headers for a code. All edges share them.
pub(crate) fn head(code: Code) -> Response {
    let status = StatusCode::from_u16(code.http_status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = status.into_response();
    let headers = response.headers_mut();
    match code {
        Code::Unauthenticated => headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static(auth::CHALLENGE)),
        // RFC 9110 §15.5.16: `Accept` names the media types that the route accepts.
        Code::UnsupportedMediaType => headers.insert(header::ACCEPT, HeaderValue::from_static(json_body::MEDIA_TYPE)),
        _ if code.is_retryable() => headers.insert(header::RETRY_AFTER, HeaderValue::from_static(RETRY_AFTER)),
        _ => None,
    };
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// A problem type that is registered for a protocol. An edge adds it to the extensions of an answer with an error.
#[derive(Clone, Debug)]
pub(crate) struct ProblemType {
    pub(crate) uri: &'static str,
    pub(crate) title: &'static str,
    /// The members that the type defines.
    pub(crate) members: Map<String, Value>,
}

/// An error (RFC 9457). It also has details for programs, such as `field`, `missing_parts` or `limit_bytes`.
#[derive(Serialize, ToSchema)]
#[schema(as = Problem)]
pub(super) struct ProblemBody<'a> {
    /// The type that is registered for a protocol, if there is one.
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    #[schema(value_type = String, format = "uri")]
    uri: Option<&'a str>,
    /// The reason phrase of the status.
    #[schema(value_type = String)]
    title: Cow<'a, str>,
    /// The status of the answer.
    #[schema(minimum = 400, maximum = 599)]
    status: u16,
    /// What went wrong, for programs.
    #[schema(value_type = Code)]
    code: &'a str,
    /// What went wrong, for people.
    detail: &'a str,
    /// Whether the same request may succeed later.
    retryable: bool,
    /// The id of the request, which is also in the server's log.
    request_id: &'a str,
    #[serde(flatten)]
    #[schema(value_type = HashMap<String, Value>)]
    details: &'a Map<String, Value>,
    #[serde(flatten)]
    #[schema(ignore)]
    members: Option<&'a Map<String, Value>>,
}

/// If the response carries an error, writes its body, and its cause to the log.
pub(super) fn render(mut response: Response, id: &RequestId) -> Response {
    let Some(error) = response.extensions_mut().remove::<Arc<Error>>() else { return response };
    error.log();
    write(&error, response, id.header_value())
}

fn write(error: &Error, mut response: Response, request_id: &HeaderValue) -> Response {
    let (status, code) = (response.status(), error.code());
    let registered = response.extensions_mut().remove::<ProblemType>();
    let registered = registered.as_ref();
    let body = ProblemBody {
        uri: registered.map(|registered| registered.uri),
        title: registered.map_or_else(|| title(status, code), |registered| registered.title.into()),
        status: status.as_u16(),
        code: code.as_str(),
        detail: error.message(),
        retryable: code.is_retryable(),
        request_id: request_id.to_str().unwrap_or_default(),
        details: error.details(),
        members: registered.map(|registered| &registered.members),
    };
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
    headers.remove(header::CONTENT_LENGTH);
    *response.body_mut() = Body::from(serde_json::to_vec(&body).unwrap_or_default());
    response
}

/// The reason phrase of the status. For a status that has none, such as 460 of tus, the words of the code: `Checksum Mismatch`.
fn title(status: StatusCode, code: Code) -> Cow<'static, str> {
    status.canonical_reason().map_or_else(|| words(code).into(), Cow::from)
}

fn words(code: Code) -> String {
    let capitalized = code.as_str().split('_').map(|word| {
        let (first, rest) = word.split_at(1);
        first.to_owned() + &rest.to_ascii_lowercase()
    });
    capitalized.collect::<Vec<_>>().join(" ")
}

//! Extractors that several edges share.
//!
//! Owns how a handler gets its caller, the session in its path, the idempotency key and the media type of the body. Each
//! rejection is a [`Problem`], so it has a code. Does not own what only one edge reads.

use std::sync::Arc;

use axum::{
    extract::{FromRequestParts, RawPathParams},
    http::{HeaderMap, header, request::Parts},
};

use super::{Problem, auth};
use crate::{
    domain::{Principal, SessionId},
    error::{Error, Result},
    service::Service,
};

const IDEMPOTENCY_KEY: &str = "idempotency-key";

/// The authenticated caller.
pub(crate) struct Caller(pub(crate) Principal);

impl FromRequestParts<Arc<Service>> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, service: &Arc<Service>) -> Result<Self, Problem> {
        Ok(Self(auth::authenticate(service, &parts.headers).await?))
    }
}

/// The authenticated caller of a route that belongs to one upload. The token may be in the query, too.
pub(crate) struct UploadCaller {
    pub(crate) principal: Principal,
    /// The token, for a stream that ends with it.
    pub(crate) token: String,
}

impl FromRequestParts<Arc<Service>> for UploadCaller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, service: &Arc<Service>) -> Result<Self, Problem> {
        let (principal, token) = auth::authenticate_upload(service, &parts.headers, &parts.uri).await?;
        Ok(Self { principal, token })
    }
}

/// The authenticated caller who asks for the content of a file. The token of a link may be in the query.
pub(crate) struct ContentCaller(pub(crate) Principal);

impl FromRequestParts<Arc<Service>> for ContentCaller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, service: &Arc<Service>) -> Result<Self, Problem> {
        Ok(Self(auth::authenticate_link(service, &parts.headers, &parts.uri).await?))
    }
}

/// `{id}` of a session. No session has a malformed id, so that is `NOT_FOUND`.
pub(crate) struct SessionPath(pub(crate) SessionId);

impl<S: Send + Sync> FromRequestParts<S> for SessionPath {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let id = path_param(parts, state, "id").await.parse();
        Ok(Self(id.map_err(|_| Error::not_found("session"))?))
    }
}

/// A parameter of the path; empty if its text cannot be decoded.
pub(crate) async fn path_param<S: Send + Sync>(parts: &mut Parts, state: &S, name: &str) -> String {
    let params = RawPathParams::from_request_parts(parts, state).await;
    let value = params.ok().and_then(|params| params.iter().find(|(key, _)| *key == name).map(|(_, v)| v.to_owned()));
    value.unwrap_or_default()
}

/// The value of `Idempotency-Key`. The draft of the header wants quotes around it; most clients send none.
///
/// # Errors
/// `INVALID_INPUT` if it cannot be read, or comes twice.
pub(crate) fn idempotency_key(headers: &HeaderMap) -> Result<Option<String>> {
    let mut values = headers.get_all(IDEMPOTENCY_KEY).iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(Error::doubled("idempotency_key"));
    }
    let text = value.to_str().map_err(|_| Error::invalid("idempotency_key", "must be printable ASCII in a header"))?;
    let unquoted = text.strip_prefix('"').and_then(|text| text.strip_suffix('"'));
    Ok(Some(unquoted.unwrap_or(text).to_owned()))
}

/// The media type of a request's body, without its parameters, in lower case.
pub(crate) fn media_type(headers: &HeaderMap) -> String {
    let value = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

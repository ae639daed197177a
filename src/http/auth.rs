//! The bearer token of a request.
//!
//! Owns how the token is read. What a token proves is the service's.

use axum::http::{HeaderMap, header};

use crate::{
    domain::Principal,
    error::{Error, Result},
    service::Service,
};

/// The scheme that a 401 asks for ([RFC 6750](https://www.rfc-editor.org/rfc/rfc6750)).
pub(super) const CHALLENGE: &str = "Bearer";

/// The caller that the `Authorization: Bearer …` header proves.
///
/// # Errors
/// `UNAUTHENTICATED` if there is no such header, or the token is not valid.
pub async fn authenticate(service: &Service, headers: &HeaderMap) -> Result<Principal> {
    service.authenticate(bearer_token(headers)?).await
}

/// The token in the `Authorization: Bearer …` header.
///
/// # Errors
/// `UNAUTHENTICATED` if there is none.
pub fn bearer_token(headers: &HeaderMap) -> Result<&str> {
    let header = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    header.and_then(parse_bearer).ok_or_else(Error::unauthenticated)
}

/// The token in `Bearer …`.
pub fn parse_bearer(value: &str) -> Option<&str> {
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case(CHALLENGE).then(|| token.trim())
}

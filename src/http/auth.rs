//! The bearer token of a request.
//!
//! Owns the parsing of the `Authorization` header. Does not own the check of the token: that is
//! `service/authenticate.rs`.

use axum::http::{HeaderMap, header};

use crate::{
    domain::Principal,
    error::{Error, Result},
    service::Service,
};

/// The scheme that a 401 names in `WWW-Authenticate` ([RFC 6750](https://www.rfc-editor.org/rfc/rfc6750)).
pub(super) const CHALLENGE: &str = "Bearer";

/// Authenticates the caller by the `Authorization: Bearer …` header.
///
/// # Errors
/// `UNAUTHENTICATED` if there is no such header, or the token is not valid.
pub(crate) async fn authenticate(service: &Service, headers: &HeaderMap) -> Result<Principal> {
    service.authenticate(bearer_token(headers)?).await
}

/// The token in the `Authorization: Bearer …` header.
///
/// # Errors
/// `UNAUTHENTICATED` if there is none.
pub(crate) fn bearer_token(headers: &HeaderMap) -> Result<&str> {
    let header = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    header.and_then(parse_bearer).ok_or_else(Error::unauthenticated)
}

/// The token in `Bearer …`. The scheme's case does not matter.
pub(crate) fn parse_bearer(value: &str) -> Option<&str> {
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case(CHALLENGE).then(|| token.trim())
}

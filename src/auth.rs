//! Reading the caller's token from a request. Both protocols' edges use it; what a token proves is the service's.

use axum::http::{HeaderMap, header};

use crate::{
    domain::Principal,
    error::{Error, Result},
    service::Service,
};

/// The scheme that a 401 asks for ([RFC 6750](https://www.rfc-editor.org/rfc/rfc6750)).
pub const CHALLENGE: &str = "Bearer";

/// The caller that the `Authorization: Bearer …` header proves.
///
/// # Errors
/// `UNAUTHENTICATED` if there is no such header, or the token is not valid.
pub async fn authenticate(service: &Service, headers: &HeaderMap) -> Result<Principal> {
    let header = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let (scheme, token) = header.and_then(|value| value.split_once(' ')).ok_or_else(Error::unauthenticated)?;
    if !scheme.eq_ignore_ascii_case(CHALLENGE) {
        return Err(Error::unauthenticated());
    }
    service.authenticate(token.trim()).await
}

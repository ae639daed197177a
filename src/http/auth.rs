//! The bearer token of a request.
//!
//! Owns the parsing of the `Authorization` header, and of the tokens that may be in the query. Does not own the check of the
//! token: that is `service/authenticate.rs`.

use axum::http::{HeaderMap, Uri, header};

use crate::{
    domain::{FileId, Principal},
    error::{Error, Result},
    service::{Service, Token},
};

/// The scheme that a 401 names in `WWW-Authenticate` ([RFC 6750](https://www.rfc-editor.org/rfc/rfc6750)).
pub(super) const CHALLENGE: &str = "Bearer";
/// The parameter with the token of a link.
const LINK: &str = "link";

/// Authenticates the caller by the `Authorization: Bearer …` header.
///
/// # Errors
/// `UNAUTHENTICATED` if there is no such header, or the token is not valid.
pub(crate) async fn authenticate(service: &Service, headers: &HeaderMap) -> Result<Principal> {
    service.authenticate(bearer_token(headers)?).await
}

/// Authenticates the caller by the header, or by `?upload_token=` with a token for one upload. A page cannot add a header to a
/// link, to an `EventSource`, or to the URL that it gives to a tus client. Returns the token, too.
///
/// # Errors
/// As [`authenticate`].
pub(super) async fn authenticate_upload(
    service: &Service,
    headers: &HeaderMap,
    uri: &Uri,
) -> Result<(Principal, String)> {
    if headers.contains_key(header::AUTHORIZATION) {
        let token = bearer_token(headers)?;
        return Ok((service.authenticate(token).await?, token.to_owned()));
    }
    let token = token_in_query(uri, "upload_token")?;
    Ok((service.authenticate_upload(&token).await?, token))
}

/// Authenticates the caller by the header, or by `?link=` with the token of a link to the content of a file.
///
/// # Errors
/// As [`authenticate`].
pub(super) async fn authenticate_link(service: &Service, headers: &HeaderMap, uri: &Uri) -> Result<Principal> {
    match headers.contains_key(header::AUTHORIZATION) {
        true => authenticate(service, headers).await,
        false => service.authenticate_link(&token_in_query(uri, LINK)?).await,
    }
}

/// The link to the content of a file, as a path of this server.
pub(crate) fn content_link(id: FileId, token: &Token) -> String {
    format!("/files/{id}/content?{LINK}={}", token.reveal())
}

/// The only value of this parameter.
fn token_in_query(uri: &Uri, parameter: &str) -> Result<String> {
    let query = url::form_urlencoded::parse(uri.query().unwrap_or_default().as_bytes());
    let mut tokens = query.filter(|(name, _)| name == parameter).map(|(_, token)| token);
    match (tokens.next(), tokens.next()) {
        (Some(token), None) => Ok(token.into_owned()),
        _ => Err(Error::unauthenticated()),
    }
}

/// The token in the `Authorization: Bearer …` header.
///
/// # Errors
/// `UNAUTHENTICATED` if there is none, or several headers.
pub(crate) fn bearer_token(headers: &HeaderMap) -> Result<&str> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    // Two headers are ambiguous: a proxy in front may have checked the other one.
    let only = match (values.next(), values.next()) {
        (Some(value), None) => value.to_str().ok(),
        _ => None,
    };
    only.and_then(parse_bearer).ok_or_else(Error::unauthenticated)
}

/// The token in `Bearer …`. The scheme's case does not matter.
pub(crate) fn parse_bearer(value: &str) -> Option<&str> {
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case(CHALLENGE).then(|| token.trim())
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    #[test]
    fn there_must_be_one_header_with_a_token() {
        let token = |values: &[&'static str]| {
            let headers = values.iter().map(|value| (header::AUTHORIZATION, HeaderValue::from_static(value))).collect();
            bearer_token(&headers).ok().map(ToOwned::to_owned)
        };
        assert_eq!(token(&["bearer  pw_a "]).as_deref(), Some("pw_a"));
        for refused in [&[][..], &["Basic pw_a"], &["pw_a"], &["Bearer pw_a", "Bearer pw_a"]] {
            assert_eq!(token(refused), None, "{refused:?}");
        }
    }
}

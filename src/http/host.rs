//! The `Host` header ([RFC 9112 §3.2](https://www.rfc-editor.org/rfc/rfc9112#section-3.2)).
//!
//! Owns the checks that hyper leaves to its callers: an HTTP/1.1 request has exactly one valid `Host`. An attacker can use a
//! request that a proxy and this server parse differently (request smuggling).

use std::sync::Arc;

use axum::{
    http::{HeaderMap, Request, Version, header, uri::Authority},
    response::{IntoResponse, Response},
};

use super::Problem;
use crate::error::{Error, Result};

/// A request extension that marks a request with an invalid `Host`. The layer in `observe.rs` refuses such a request.
#[derive(Clone, Debug)]
pub(super) struct InvalidHost(Arc<Error>);

impl IntoResponse for InvalidHost {
    fn into_response(self) -> Response {
        Problem::shared(self.0)
    }
}

/// Marks the request if its `Host` is invalid. Returns whether it did.
pub(super) fn mark_invalid<B>(request: &mut Request<B>) -> bool {
    let Err(error) = check(request.version(), request.headers()) else { return false };
    request.extensions_mut().insert(InvalidHost(Arc::new(error)));
    true
}

fn check(version: Version, headers: &HeaderMap) -> Result<()> {
    let mut hosts = headers.get_all(header::HOST).iter();
    match (hosts.next(), hosts.next()) {
        (None, _) if version < Version::HTTP_11 => Ok(()),
        (None, _) => Err(Error::invalid("host", "an HTTP/1.1 request must have a Host header")),
        (Some(host), None) if is_host(host.as_bytes()) => Ok(()),
        (Some(_), None) => Err(Error::invalid("host", "must be a name or an address, with an optional port")),
        (Some(_), Some(_)) => Err(Error::invalid("host", "a request must have only one Host header")),
    }
}

/// Whether the value is `uri-host [ ":" port ]` with a host that is not empty.
fn is_host(value: &[u8]) -> bool {
    let Ok(authority) = Authority::try_from(value) else { return false };
    let port = authority.as_str().strip_prefix(authority.host());
    let is_port = |port: &str| match port.strip_prefix(':') {
        Some(digits) => {
            digits.bytes().all(|byte| byte.is_ascii_digit()) && (digits.is_empty() || digits.parse::<u16>().is_ok())
        }
        None => port.is_empty(),
    };
    !authority.host().is_empty() && port.is_some_and(is_port)
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    fn check(version: Version, hosts: &[&[u8]]) -> bool {
        let mut headers = HeaderMap::new();
        for host in hosts {
            headers.append(header::HOST, HeaderValue::from_bytes(host).unwrap());
        }
        super::check(version, &headers).is_ok()
    }

    #[test]
    fn a_request_must_have_one_valid_host() {
        for host in
            ["x", "example.org", "example.org:8080", "example.org:", "127.0.0.1:1", "[::1]", "[::1]:8080", "a_b~c"]
        {
            assert!(check(Version::HTTP_11, &[host.as_bytes()]), "{host}");
        }
        let malformed: [&[u8]; 13] = [
            b"",
            b" ",
            b"a b",
            b"a/b",
            b"http://a",
            b"me@a",
            b"a:b",
            b"a:1:2",
            b"a:99999",
            b":80",
            b"[::1",
            b"a,b?",
            b"\xff",
        ];
        for host in malformed {
            assert!(!check(Version::HTTP_11, &[host]), "{}", String::from_utf8_lossy(host));
            assert!(!check(Version::HTTP_10, &[host]), "{}", String::from_utf8_lossy(host));
        }
        assert!(!check(Version::HTTP_11, &[]));
        assert!(check(Version::HTTP_10, &[]));
        assert!(!check(Version::HTTP_11, &[b"x", b"x"]));
    }
}

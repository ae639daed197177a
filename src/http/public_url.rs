//! The address under which clients reach this server.
//!
//! Owns the URLs of resources in answers. A proxy may serve Partway under another host or path, which the server cannot see.
//! The setting `public_url` names it.

use std::sync::Arc;

use axum::http::{HeaderMap, header};
use url::Url;

/// The prefix of each URL in an answer.
#[derive(Clone, Debug)]
pub(crate) struct PublicUrl(Arc<str>);

impl PublicUrl {
    /// Makes absolute URLs below `url`. Without a `url`, makes paths, which the client resolves against its request.
    pub(crate) fn new(url: Option<&Url>) -> Self {
        Self(url.map(Url::as_str).unwrap_or_default().trim_end_matches('/').into())
    }

    /// The URL of a path of this server.
    pub(crate) fn of(&self, path: &str) -> String {
        format!("{}{path}", self.0)
    }

    /// The absolute URL of a path. Without the setting, takes the host and the scheme from the request. A forged header misleads
    /// only its sender.
    pub(crate) fn absolute(&self, request: &HeaderMap, path: &str) -> String {
        let host = request.get(header::HOST).and_then(|host| host.to_str().ok());
        match host.filter(|_| self.0.is_empty()) {
            Some(host) => {
                format!("{}://{host}{path}", if is_https(request) { "https" } else { "http" })
            }
            None => self.of(path),
        }
    }
}

/// Whether the client's connection to the first proxy uses TLS. Each proxy may add the scheme of its own client to the list.
fn is_https(request: &HeaderMap) -> bool {
    let schemes = request.get("x-forwarded-proto").and_then(|schemes| schemes.to_str().ok()).unwrap_or_default();
    schemes.split(',').next().is_some_and(|first| first.trim().eq_ignore_ascii_case("https"))
}

//! The address under which clients reach this server.
//!
//! Owns the URLs of resources in answers. A proxy may serve Partway under another host or path, which the server cannot see.
//! The setting `public_url` names it.

use std::sync::Arc;

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
    pub(super) fn of(&self, path: &str) -> String {
        format!("{}{path}", self.0)
    }
}

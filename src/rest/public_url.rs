//! The address under which clients reach this server.
//!
//! Owns how the addresses of resources in answers are made. A proxy may serve Partway under a path of its own, which the
//! server cannot see; the setting `public_url` names it.

use std::sync::Arc;

use url::Url;

/// What stands before the path of each address in an answer.
#[derive(Clone, Debug)]
pub struct PublicUrl(Arc<str>);

impl PublicUrl {
    /// Absolute addresses below `url`; without one, paths on whatever host the client asked.
    pub fn new(url: Option<&Url>) -> Self {
        Self(url.map(Url::as_str).unwrap_or_default().trim_end_matches('/').into())
    }

    /// The address of a path of this server.
    pub(super) fn of(&self, path: &str) -> String {
        format!("{}{path}", self.0)
    }
}

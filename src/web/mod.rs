//! The pages for browsers.
//!
//! `page` is the page at `/`; `graphiql` is GraphiQL. Neither page needs a token; the API requests that
//! it sends do. All URLs in them are relative, so that a proxy can serve them under any path.

mod graphiql;
mod page;

use axum::{Router, http::HeaderName};

/// Cuts the connection to a page of another origin that has opened this one: it could navigate the tab to a link with a token of
/// its own.
const OPENER_POLICY: (HeaderName, &str) = (HeaderName::from_static("cross-origin-opener-policy"), "same-origin");

/// The routes of all pages.
pub(crate) fn router<S: Clone + Send + Sync + 'static>() -> Router<S> {
    page::router().merge(graphiql::router())
}

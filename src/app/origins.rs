//! Which pages may use this server from a browser: its own, and those of the origins in the settings.
//!
//! Owns the settings `cors_origins` and `public_url` as far as they name origins, and the layers that hold them. Callers
//! are known by a header that no browser adds by itself, so this is the second lock on the door.

use std::{collections::HashSet, sync::Arc, time::Duration};

use anyhow::{Context, ensure};
use axum::{
    extract::Request,
    http::{HeaderName, HeaderValue, Method, header},
};
use tower_http::cors::{AllowHeaders, CorsLayer};
use url::Url;

/// Headers of answers that a page of another origin may read, beside those that each may.
const EXPOSED: [&str; 12] = [
    "accept-ranges",
    "allow",
    "content-digest",
    "content-disposition",
    "content-range",
    "etag",
    "last-modified",
    "location",
    "repr-digest",
    "retry-after",
    "www-authenticate",
    "x-request-id",
];

/// The origins in the settings.
#[derive(Clone, Debug, Default)]
pub(super) struct Origins {
    /// Their pages may send requests and read the answers.
    cors: Vec<HeaderValue>,
    /// Their requests are not told from those of a program: those of `cors`, and the server's own public one, which a
    /// proxy that rewrites `Host` hides.
    trusted: Arc<HashSet<HeaderValue>>,
}

impl Origins {
    /// Reads `cors_origins` and `public_url`.
    ///
    /// # Errors
    /// An entry that no browser would ever send as an origin.
    pub(super) fn new<'a>(cors: impl Iterator<Item = &'a str>, public: Option<&Url>) -> anyhow::Result<Self> {
        let cors = cors
            .map(|text| origin(text).with_context(|| format!("cors_origins: {text}")))
            .collect::<anyhow::Result<Vec<_>>>()?;
        let public =
            public.map(|url| url.origin().ascii_serialization().try_into()).transpose().context("public_url")?;
        let trusted = cors.iter().cloned().chain(public).collect();
        Ok(Self { cors, trusted: Arc::new(trusted) })
    }

    /// The layer that lets pages of the named origins read answers; none if no origin is named.
    pub(super) fn cors(&self) -> Option<CorsLayer> {
        if self.cors.is_empty() {
            return None;
        }
        let layer = CorsLayer::new()
            .allow_origin(self.cors.clone())
            .allow_methods([Method::GET, Method::HEAD, Method::POST, Method::PUT, Method::DELETE])
            // Clients add headers of their own (traceparent, baggage, x-apollo-operation-name); none gives rights.
            .allow_headers(AllowHeaders::mirror_request())
            .expose_headers(EXPOSED.map(HeaderName::from_static))
            .max_age(Duration::from_hours(1));
        Some(layer)
    }

    /// Removes the marks of a cross-origin request if its origin is trusted, so that the check that follows refuses only
    /// the others. That check itself takes origins of the web alone, not those of apps, as `capacitor://localhost`.
    pub(super) fn admit(&self, mut request: Request) -> Request {
        let headers = request.headers_mut();
        if headers.get(header::ORIGIN).is_some_and(|origin| self.trusted.contains(origin)) {
            headers.remove(header::ORIGIN);
            headers.remove("sec-fetch-site");
        }
        request
    }
}

/// An origin as browsers write it: scheme, host and, if it is not the scheme's own, port.
fn origin(text: &str) -> anyhow::Result<HeaderValue> {
    ensure!(!text.contains('*'), "name each origin; patterns are not taken");
    ensure!(text != "null", "pages of every sandbox and every file have this origin; name a real one");
    let url = Url::parse(text).context("this is no origin such as https://app.example.org")?;
    ensure!(url.has_host(), "this is no origin such as https://app.example.org");
    let bare = url.path().trim_start_matches('/').is_empty() && url.query().is_none() && url.fragment().is_none();
    ensure!(bare && url.username().is_empty() && url.password().is_none(), "an origin is a scheme, a host and a port");
    let browsers_spelling = match url.origin() {
        tuple @ url::Origin::Tuple(..) => tuple.ascii_serialization(),
        // The URL standard gives other schemes no origin; web views send scheme and host as the app has them.
        url::Origin::Opaque(_) => text.trim_end_matches('/').to_ascii_lowercase(),
    };
    Ok(browsers_spelling.try_into()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_are_spelled_as_browsers_do() {
        for (text, sent) in [
            ("https://app.example.org", "https://app.example.org"),
            ("HTTPS://App.Example.org/", "https://app.example.org"),
            ("https://app.example.org:443", "https://app.example.org"),
            ("http://localhost:5173", "http://localhost:5173"),
            ("https://bücher.example", "https://xn--bcher-kva.example"),
            ("capacitor://localhost", "capacitor://localhost"),
            ("tauri://localhost/", "tauri://localhost"),
            ("http://tauri.localhost", "http://tauri.localhost"),
            ("chrome-extension://abcdef", "chrome-extension://abcdef"),
        ] {
            assert_eq!(origin(text).unwrap(), sent, "{text}");
        }
    }

    #[test]
    fn what_no_browser_sends_is_refused() {
        for text in [
            "*",
            "https://*.example.org",
            "null",
            "app.example.org",
            "https://app.example.org/path",
            "https://app.example.org?q",
            "https://me@app.example.org",
            "https://",
            "localhost:5173",
            "file:///x",
            "data:,x",
        ] {
            assert!(origin(text).is_err(), "{text}");
        }
    }
}

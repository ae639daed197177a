//! Which web pages may use this server from a browser.
//!
//! Owns the origins in the settings `cors_origins` and `public_url`, and the layers that apply them. This is a second
//! line of defence: a request also needs a bearer token, and no browser adds that header by itself.

use std::{collections::HashSet, sync::Arc, time::Duration};

use anyhow::{Context, ensure};
use axum::{
    extract::Request,
    http::{HeaderName, HeaderValue, Method, header},
};
use tower_http::cors::{AllowHeaders, CorsLayer};
use url::Url;

/// Response headers that a page of another origin may read, in addition to those that the CORS standard always allows.
const EXPOSED: [&str; 26] = [
    "accept-patch",
    "accept-ranges",
    "allow",
    "content-digest",
    "content-disposition",
    "content-location",
    "content-range",
    "etag",
    "last-modified",
    "location",
    "preference-applied",
    "repr-digest",
    "retry-after",
    "tus-checksum-algorithm",
    "tus-extension",
    "tus-max-size",
    "tus-resumable",
    "tus-version",
    "upload-complete",
    "upload-expires",
    "upload-length",
    "upload-limit",
    "upload-metadata",
    "upload-offset",
    "www-authenticate",
    "x-request-id",
];

/// The origins in the settings.
#[derive(Clone, Debug, Default)]
pub(super) struct Origins {
    /// Pages of these origins may send requests and read the responses.
    cors: Vec<HeaderValue>,
    /// Requests from these origins pass the CSRF check: the origins in `cors`, and the origin of `public_url`, which
    /// the check cannot recognize behind a proxy that rewrites `Host`.
    trusted: Arc<HashSet<HeaderValue>>,
}

impl Origins {
    /// Reads `cors_origins` and `public_url`.
    ///
    /// # Errors
    /// No browser sends an entry as an origin. The message names the setting.
    pub(super) fn new<'a>(cors: impl Iterator<Item = &'a str>, public: Option<&Url>) -> anyhow::Result<Self> {
        let cors = cors
            .map(|text| origin(text).with_context(|| format!("cors_origins: {text}")))
            .collect::<anyhow::Result<Vec<_>>>()?;
        let public =
            public.map(|url| url.origin().ascii_serialization().try_into()).transpose().context("public_url")?;
        let trusted = cors.iter().cloned().chain(public).collect();
        Ok(Self { cors, trusted: Arc::new(trusted) })
    }

    /// The layer that lets pages of the origins in `cors_origins` read responses. `None` if that is empty.
    pub(super) fn cors(&self) -> Option<CorsLayer> {
        if self.cors.is_empty() {
            return None;
        }
        let layer = CorsLayer::new()
            .allow_origin(self.cors.clone())
            .allow_methods([Method::GET, Method::HEAD, Method::POST, Method::PUT, Method::PATCH, Method::DELETE])
            // Clients add headers such as traceparent, baggage and x-apollo-operation-name. None of them grants access.
            .allow_headers(AllowHeaders::mirror_request())
            .expose_headers(EXPOSED.map(HeaderName::from_static))
            .max_age(Duration::from_hours(1));
        Some(layer)
    }

    /// Removes the headers that mark a cross-origin request, if its origin is trusted. So the CSRF check that follows
    /// refuses only other origins. That check itself cannot be given origins of apps, such as `capacitor://localhost`.
    pub(super) fn admit(&self, mut request: Request) -> Request {
        let headers = request.headers_mut();
        if headers.get(header::ORIGIN).is_some_and(|origin| self.trusted.contains(origin)) {
            headers.remove(header::ORIGIN);
            headers.remove("sec-fetch-site");
        }
        request
    }
}

/// An origin as browsers send it: the scheme, the host, and the port if it is not the scheme's default.
fn origin(text: &str) -> anyhow::Result<HeaderValue> {
    ensure!(!text.contains('*'), "name each origin; patterns are not supported");
    ensure!(text != "null", "all sandboxed pages and local files have the origin `null`; name another one");
    let url = Url::parse(text).context("not an origin such as https://app.example.org")?;
    ensure!(url.has_host(), "not an origin such as https://app.example.org");
    let bare = url.path().trim_start_matches('/').is_empty() && url.query().is_none() && url.fragment().is_none();
    ensure!(bare && url.username().is_empty() && url.password().is_none(), "an origin is a scheme, a host and a port");
    let as_sent = match url.origin() {
        tuple @ url::Origin::Tuple(..) => tuple.ascii_serialization(),
        // The URL standard defines no origin for other schemes. Web views send the scheme and the host of the app.
        url::Origin::Opaque(_) => text.trim_end_matches('/').to_ascii_lowercase(),
    };
    Ok(as_sent.try_into()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_is_written_as_browsers_send_it() {
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
    fn an_origin_that_no_browser_sends_is_refused() {
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

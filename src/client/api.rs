//! The server's routes, one method each.

use std::time::Duration;

use reqwest::{Method, RequestBuilder, Response, Url, header, redirect};
use serde_json::Value;
use sfv::{DictSerializer, KeyRef};

use super::{
    answer::{About, json, send},
    bodies::{ListBody, NewUpload, PartBody, PartsBody, SessionBody},
    failure::ClientError,
};
use crate::domain::Sha256Digest;

const USER_AGENT: &str = concat!("partway/", env!("CARGO_PKG_VERSION"));
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// A server that is silent for so long is taken for gone.
const READ_TIMEOUT: Duration = Duration::from_mins(2);
/// How long the other side may leave bytes unacknowledged. The system sees this, whatever it holds for us.
#[cfg(target_os = "linux")]
const ACKNOWLEDGED_WITHIN: Duration = Duration::from_mins(2);
const KEEP_ALIVE: Duration = Duration::from_secs(30);

/// A server, and who we are to it.
#[derive(Clone, Debug)]
pub struct Client {
    http: reqwest::Client,
    /// For parts: without a limit on the time until the answer, which is the time that sending takes.
    sender: reqwest::Client,
    server: Url,
    token: String,
}

type Result<T> = std::result::Result<T, ClientError>;

impl Client {
    /// A client of the server at this address.
    pub fn new(server: &str, token: &str) -> Result<Self> {
        let wrong = || ClientError::Address(server.to_owned());
        let url = Url::parse(server).map_err(|_| wrong())?;
        if !matches!(url.scheme(), "http" | "https") || url.cannot_be_a_base() {
            return Err(wrong());
        }
        // Files and secret stores end a token with a newline.
        let token = token.trim();
        if token.is_empty() || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(ClientError::Token);
        }
        // TLS by ring: it builds with a C compiler alone. An error says that it is installed already.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let builder = || {
            let builder = reqwest::Client::builder().user_agent(USER_AGENT);
            let builder = builder.connect_timeout(CONNECT_TIMEOUT).tcp_keepalive(KEEP_ALIVE);
            #[cfg(target_os = "linux")]
            let builder = builder.tcp_user_timeout(ACKNOWLEDGED_WITHIN);
            // Another address gets neither the token nor, most often, the body.
            builder.redirect(redirect::Policy::none())
        };
        let (http, sender) = (builder().read_timeout(READ_TIMEOUT).build()?, builder().build()?);
        Ok(Self { http, sender, server: url, token: token.to_owned() })
    }

    /// Creates a session.
    pub async fn create(&self, new: &NewUpload<'_>) -> Result<SessionBody> {
        json(self.request(Method::POST, &["uploads", "sessions"]).json(new)).await
    }

    /// A session.
    pub async fn session(&self, id: &str) -> Result<SessionBody> {
        json(self.request(Method::GET, &["uploads", "sessions", id])).await
    }

    /// All sessions with this status, newest first.
    pub async fn sessions(&self, status: &str) -> Result<Vec<SessionBody>> {
        let (mut sessions, mut after) = (Vec::new(), None::<String>);
        loop {
            let mut request =
                self.request(Method::GET, &["uploads", "sessions"]).query(&[("status", status), ("limit", "100")]);
            if let Some(after) = &after {
                request = request.query(&[("after", after)]);
            }
            let page: ListBody = json(request).await?;
            sessions.extend(page.sessions);
            after = page.next;
            if after.is_none() {
                return Ok(sessions);
            }
        }
    }

    /// The newest sessions, at most 100, with this status and for a file of this name and size.
    pub async fn sessions_for(&self, name: &str, size_bytes: u64, status: &str, most: u8) -> Result<Vec<SessionBody>> {
        let request = self.request(Method::GET, &["uploads", "sessions"]);
        let (size_bytes, most) = (size_bytes.to_string(), most.to_string());
        let filter =
            [("status", status), ("original_filename", name), ("total_size_bytes", &size_bytes), ("limit", &most)];
        let page: ListBody = json(request.query(&filter)).await?;
        Ok(page.sessions)
    }

    /// A page of a session's received parts, and where the next one begins.
    pub async fn parts(&self, id: &str, after: u32) -> Result<(Vec<PartBody>, Option<u32>)> {
        let request = self.request(Method::GET, &["uploads", "sessions", id, "parts"]);
        let page: PartsBody = json(request.query(&[("after", after), ("limit", 1_000)])).await?;
        Ok((page.parts, page.next))
    }

    /// The SHA-256 of a part in hex, if it has arrived.
    pub async fn part_sha256(&self, id: &str, number: u32) -> Result<Option<String>> {
        let path = ["uploads", "sessions", id, "parts", &number.to_string()];
        match json::<PartBody>(self.request(Method::GET, &path)).await {
            Ok(part) => Ok(Some(part.sha256)),
            Err(error) if error.code() == Some("NOT_FOUND") => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Sends a part.
    pub async fn put_part(
        &self,
        id: &str,
        number: u32,
        size_bytes: u64,
        sha256: &Sha256Digest,
        body: reqwest::Body,
    ) -> Result<()> {
        let url = self.url(&["uploads", "sessions", id, "parts", &number.to_string()]);
        let request = self
            .sender
            .put(url)
            .bearer_auth(&self.token)
            .header(header::CONTENT_LENGTH, size_bytes)
            .header("content-digest", content_digest(sha256))
            .body(body);
        // Only the receipt says that the part has arrived; a proxy may answer 200 with a page of its own.
        json::<PartBody>(request).await.map(drop)
    }

    /// Makes the parts a file.
    pub async fn finalize(&self, id: &str) -> Result<SessionBody> {
        json(self.request(Method::POST, &["uploads", "sessions", id, "finalize"])).await
    }

    /// Makes the parts a file, if they are those that this digest is over.
    pub async fn finalize_expecting(&self, id: &str, composite: Sha256Digest) -> Result<SessionBody> {
        let request = self.request(Method::POST, &["uploads", "sessions", id, "finalize"]);
        json(request.json(&serde_json::json!({ "composite_sha256": composite.to_string() }))).await
    }

    /// Whether the server has the bytes of a stored file.
    pub async fn has_content(&self, file_id: &str) -> Result<bool> {
        match send(self.request(Method::HEAD, &["files", file_id, "content"])).await {
            Ok(_) => Ok(true),
            // An answer to HEAD has no body that would tell its code.
            Err(ClientError::Foreign { status: reqwest::StatusCode::GONE, .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Sends a GraphQL request whose answer is a stream of events.
    pub(super) async fn event_stream(&self, body: &Value) -> Result<Response> {
        let request = self.request(Method::POST, &["graphql"]).header(header::ACCEPT, "text/event-stream");
        let response = send(request.json(body)).await?;
        let about = About::of(&response);
        if about.is_of("text/event-stream") { Ok(response) } else { Err(about.foreign(false)) }
    }

    fn request(&self, method: Method, path: &[&str]) -> RequestBuilder {
        self.http.request(method, self.url(path)).bearer_auth(&self.token)
    }

    /// Segment by segment: an id that a person typed may be anything, and stays one segment.
    fn url(&self, path: &[&str]) -> Url {
        let mut url = self.server.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().extend(path);
        }
        url
    }
}

/// `Content-Digest` ([RFC 9530](https://www.rfc-editor.org/rfc/rfc9530)).
fn content_digest(sha256: &Sha256Digest) -> String {
    let mut fields = DictSerializer::new();
    fields.bare_item(KeyRef::constant("sha-256"), sha256.as_bytes().as_slice());
    fields.finish().unwrap_or_default()
}

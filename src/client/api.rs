//! The server's routes, one method each.

use std::time::Duration;

use reqwest::{Method, RequestBuilder, Response, StatusCode, Url, header};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};
use sfv::{DictSerializer, KeyRef};

use super::bodies::{ListBody, NewUpload, PartBody, PartsBody, ProblemBody, SessionBody};
use crate::domain::Sha256Digest;

const USER_AGENT: &str = concat!("partway/", env!("CARGO_PKG_VERSION"));
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// A server that is silent for so long is taken for gone.
const READ_TIMEOUT: Duration = Duration::from_mins(2);
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

/// Why a request failed.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The server refused.
    #[error("{detail} ({code})")]
    Refused {
        /// HTTP status.
        status: StatusCode,
        /// The stable code.
        code: String,
        /// The server's words.
        detail: String,
        /// Whether trying again may help.
        retryable: bool,
    },
    /// No answer, or one that could not be read.
    #[error("no answer from the server")]
    Network(#[from] reqwest::Error),
    /// Nothing of a part went out for so long that the connection is taken for dead.
    #[error("the connection is stalled")]
    Stalled,
    /// The token cannot be sent in a header.
    #[error("the token has characters that no token has")]
    Token,
    /// The server's address is not one.
    #[error("{0} is no address of a server")]
    Address(String),
}

impl ClientError {
    /// Whether trying again may help.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Refused { retryable, .. } => *retryable,
            Self::Network(error) => !error.is_builder(),
            Self::Stalled => true,
            Self::Address(_) | Self::Token => false,
        }
    }

    /// The stable code, if the server refused.
    pub fn code(&self) -> Option<&str> {
        match self {
            Self::Refused { code, .. } => Some(code),
            _ => None,
        }
    }
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
            builder.connect_timeout(CONNECT_TIMEOUT).tcp_keepalive(KEEP_ALIVE)
        };
        let (http, sender) = (builder().read_timeout(READ_TIMEOUT).build()?, builder().build()?);
        Ok(Self { http, sender, server: url, token: token.to_owned() })
    }

    /// Creates a session.
    pub async fn create(&self, new: &NewUpload<'_>) -> Result<SessionBody> {
        self.json(self.request(Method::POST, &["uploads", "sessions"]).json(new)).await
    }

    /// A session.
    pub async fn session(&self, id: &str) -> Result<SessionBody> {
        self.json(self.request(Method::GET, &["uploads", "sessions", id])).await
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
            let page: ListBody = self.json(request).await?;
            sessions.extend(page.sessions);
            after = page.next;
            if after.is_none() {
                return Ok(sessions);
            }
        }
    }

    /// A page of a session's received parts, and where the next one begins.
    pub async fn parts(&self, id: &str, after: u32) -> Result<(Vec<PartBody>, Option<u32>)> {
        let request = self.request(Method::GET, &["uploads", "sessions", id, "parts"]);
        let page: PartsBody = self.json(request.query(&[("after", after), ("limit", 1_000)])).await?;
        Ok((page.parts, page.next))
    }

    /// The SHA-256 of a part in hex, if it has arrived.
    pub async fn part_sha256(&self, id: &str, number: u32) -> Result<Option<String>> {
        let path = ["uploads", "sessions", id, "parts", &number.to_string()];
        match self.json::<PartBody>(self.request(Method::GET, &path)).await {
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
        send(request).await.map(drop)
    }

    /// Makes the parts a file.
    pub async fn finalize(&self, id: &str) -> Result<SessionBody> {
        self.json(self.request(Method::POST, &["uploads", "sessions", id, "finalize"])).await
    }

    /// Makes the parts a file, if they are those that this digest is over.
    pub async fn finalize_expecting(&self, id: &str, composite: Sha256Digest) -> Result<SessionBody> {
        let request = self.request(Method::POST, &["uploads", "sessions", id, "finalize"]);
        self.json(request.json(&json!({ "composite_sha256": composite.to_string() }))).await
    }

    /// Sends a GraphQL request whose answer is a stream of events.
    pub(super) async fn event_stream(&self, body: &Value) -> Result<Response> {
        let request = self.request(Method::POST, &["graphql"]).header(header::ACCEPT, "text/event-stream");
        send(request.json(body)).await
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

    async fn json<T: DeserializeOwned>(&self, request: RequestBuilder) -> Result<T> {
        Ok(send(request).await?.json().await?)
    }
}

async fn send(request: RequestBuilder) -> Result<Response> {
    let response = request.send().await?;
    let status = response.status();
    if status.is_success() {
        return Ok(response);
    }
    let problem: Map<String, Value> = response.json().await.unwrap_or_default();
    let problem: ProblemBody = serde_json::from_value(Value::Object(problem)).unwrap_or_default();
    if problem.code.is_empty() {
        // Not our server's words: a proxy's, most likely.
        let detail = format!("the server answered {status}");
        let retryable = status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS;
        return Err(ClientError::Refused { status, code: status.as_u16().to_string(), detail, retryable });
    }
    let ProblemBody { code, detail, retryable } = problem;
    // A server's fault may be a passing one; all that a client can lose by trying again is time.
    Err(ClientError::Refused { status, code, detail, retryable: retryable || status.is_server_error() })
}

/// `Content-Digest` ([RFC 9530](https://www.rfc-editor.org/rfc/rfc9530)).
fn content_digest(sha256: &Sha256Digest) -> String {
    let mut fields = DictSerializer::new();
    fields.bare_item(KeyRef::constant("sha-256"), sha256.as_bytes().as_slice());
    fields.finish().unwrap_or_default()
}

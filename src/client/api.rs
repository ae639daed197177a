//! The client of the REST API: one method for each route.
//!
//! Owns the requests for sessions and the lists. Does not connect: that is `connection`. Does not download: that is
//! `content`. Does not retry: that is `retry`. Does not read responses: that is `response`.

use reqwest::{Method, RequestBuilder, Response, StatusCode, Url, header};
use serde::Serialize;
use serde_json::Value;
use sfv::{DictSerializer, KeyRef};

use super::{
    bodies::{FileBody, LocalDigests, NewUpload, Page, PartBody, PartsBody, SessionBody, Verbatim},
    connection::Connections,
    error::ClientError,
    response::{ResponseHead, json, send},
};
use crate::domain::Sha256Digest;

/// A client of one server, with one token.
#[derive(Clone, Debug)]
pub struct Client {
    http: Connections,
    server: Url,
    token: String,
}

/// Which sessions or files a list has, and how many a page. A field that is `None` does not filter.
#[derive(Clone, Debug, Default, Serialize)]
pub struct ListFilter<'a> {
    /// Those with this status, in the words of the REST API.
    pub status: Option<&'a str>,
    /// Sessions that have not ended, or only those that have. Not for files.
    pub open: Option<bool>,
    /// Those of a file with this name.
    pub original_filename: Option<&'a str>,
    /// Those of a file with this size. Not for files.
    pub total_size_bytes: Option<u64>,
    /// The size of a page, at most 100.
    pub limit: Option<u8>,
}

type Result<T> = std::result::Result<T, ClientError>;

impl Client {
    /// A client of the server at this address.
    ///
    /// # Errors
    /// `Address` if it is not an HTTP URL, `Token` if the token cannot be sent in a header.
    pub fn new(server: &str, token: &str) -> Result<Self> {
        Self::trusting(server, token, None)
    }

    /// A client that also trusts these certificates, in PEM, beside those of the system.
    ///
    /// # Errors
    /// As `new`; `Certificates` if there is no certificate in the text, or one is damaged.
    pub fn trusting(server: &str, token: &str, ca_pem: Option<&[u8]>) -> Result<Self> {
        let invalid_address = || ClientError::Address(server.to_owned());
        let url = Url::parse(server).map_err(|_| invalid_address())?;
        if !matches!(url.scheme(), "http" | "https") || url.cannot_be_a_base() {
            return Err(invalid_address());
        }
        // A token that was read from a file or a secret store often ends with a newline.
        let token = token.trim();
        if token.is_empty() || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(ClientError::Token);
        }
        let http = Connections::new(ca_pem, url.scheme() == "https")?;
        Ok(Self { http, server: url, token: token.to_owned() })
    }

    /// Creates a session.
    pub async fn create(&self, new: &NewUpload<'_>) -> Result<SessionBody> {
        json(self.request(Method::POST, &["uploads", "sessions"]).json(new)).await
    }

    /// Reads a session.
    pub async fn session(&self, id: &str) -> Result<SessionBody> {
        json(self.request(Method::GET, &["uploads", "sessions", id])).await
    }

    /// Reads a session, and keeps its JSON as the server sent it.
    pub async fn session_verbatim(&self, id: &str) -> Result<Verbatim<SessionBody>> {
        json(self.request(Method::GET, &["uploads", "sessions", id])).await
    }

    /// Lists the newest sessions with this status for a file of this name and size: at most `limit`, which is at most 100.
    pub async fn sessions_for(&self, name: &str, size_bytes: u64, status: &str, limit: u8) -> Result<Vec<SessionBody>> {
        let filter = ListFilter {
            status: Some(status),
            open: None,
            original_filename: Some(name),
            total_size_bytes: Some(size_bytes),
            limit: Some(limit),
        };
        let page: Page<SessionBody> = json(self.request(Method::GET, &["uploads", "sessions"]).query(&filter)).await?;
        Ok(page.items)
    }

    /// Reads a page of the list of sessions: the first one, or that after `after`, the `next` of a page.
    pub async fn sessions(&self, filter: &ListFilter<'_>, after: Option<&str>) -> Result<Page<Verbatim<SessionBody>>> {
        json(self.request(Method::GET, &["uploads", "sessions"]).query(filter).query(&[("after", after)])).await
    }

    /// Reads a page of the list of files, in the same way.
    pub async fn files(&self, filter: &ListFilter<'_>, after: Option<&str>) -> Result<Page<Verbatim<FileBody>>> {
        json(self.request(Method::GET, &["files"]).query(filter).query(&[("after", after)])).await
    }

    /// Aborts a session. The server frees its bytes.
    pub async fn abort(&self, id: &str) -> Result<()> {
        send(self.request(Method::DELETE, &["uploads", "sessions", id])).await.map(drop)
    }

    /// Reads the record of a file.
    pub async fn file(&self, id: &str) -> Result<FileBody> {
        json(self.request(Method::GET, &["files", id])).await
    }

    /// Deletes a stored file. The server frees its bytes.
    pub async fn delete_file(&self, id: &str) -> Result<()> {
        send(self.request(Method::DELETE, &["files", id])).await.map(drop)
    }

    /// Reads a page of a session's received parts: those with a number above `after`, and the `after` of the next page.
    pub async fn parts(&self, id: &str, after: u32) -> Result<(Vec<PartBody>, Option<u32>)> {
        let request = self.request(Method::GET, &["uploads", "sessions", id, "parts"]);
        let page: PartsBody = json(request.query(&[("after", after), ("limit", 1_000)])).await?;
        Ok((page.parts, page.next))
    }

    /// Reads the SHA-256 of a part in hex; `None` if the server does not have the part.
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
            .http
            .for_parts
            .put(url)
            .bearer_auth(&self.token)
            .header(header::CONTENT_LENGTH, size_bytes)
            .header("content-digest", content_digest(sha256))
            .body(body);
        // Only the receipt shows that the server has the part. A proxy may respond 200 with a page of its own.
        json::<PartBody>(request).await.map(drop)
    }

    /// Finalizes a session if its file has these digests: the server makes one file of the parts.
    pub async fn finalize(&self, id: &str, expected: LocalDigests) -> Result<SessionBody> {
        let request = self.request(Method::POST, &["uploads", "sessions", id, "finalize"]);
        let LocalDigests { composite_sha256, crc64nvme } = expected;
        let expected = serde_json::json!({
            "composite_sha256": composite_sha256.to_string(), "crc64nvme": crc64nvme.to_string(),
        });
        json(request.json(&expected)).await
    }

    /// Whether the server still has the bytes of a stored file: it may have lost them, or deleted the file.
    pub async fn has_content(&self, file_id: &str) -> Result<bool> {
        match send(self.request(Method::HEAD, &["files", file_id, "content"])).await {
            Ok(_) => Ok(true),
            // The response to HEAD has no body, so there is no error code to read.
            Err(ClientError::NotPartway { status: StatusCode::GONE | StatusCode::NOT_FOUND, .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Sends a GraphQL request whose response is an event stream.
    pub(super) async fn event_stream(&self, body: &Value) -> Result<Response> {
        let request = self.request(Method::POST, &["graphql"]).header(header::ACCEPT, "text/event-stream");
        let response = send(request.json(body)).await?;
        let head = ResponseHead::of(&response);
        if head.has_media_type("text/event-stream") { Ok(response) } else { Err(head.not_partway(false)) }
    }

    pub(super) fn request(&self, method: Method, path: &[&str]) -> RequestBuilder {
        self.http.for_requests.request(method, self.url(path)).bearer_auth(&self.token)
    }

    /// Builds the URL from segments, so that an id with any characters, as typed by a user, stays one segment.
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

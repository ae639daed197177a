//! The requests for the content of a stored file.
//!
//! Owns `Range` and `If-Range`, and what an answer to them says. Does not keep the bytes: that is `download`.

use reqwest::{Method, Response, StatusCode, header};

use super::{
    api::Client,
    error::ClientError,
    response::{ResponseHead, send},
};

/// An answer with bytes of a file.
pub(super) struct Content {
    /// Where in the file they begin.
    pub(super) from: u64,
    /// Which content they are of, if the answer says so: the `ETag`.
    pub(super) tag: Option<String>,
    pub(super) response: Response,
}

impl Client {
    /// The tag of a file's content now. `None` if the server has no such content, or says no tag.
    pub(super) async fn content_tag(&self, file_id: &str) -> Result<Option<String>, ClientError> {
        match send(self.request(Method::HEAD, &["files", file_id, "content"])).await {
            Ok(response) => Ok(tag(&response)),
            // The response to HEAD has no body, so there is no error code to read. The GET that follows has one.
            Err(ClientError::NotPartway { status: StatusCode::GONE | StatusCode::NOT_FOUND, .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Asks for the bytes of a file of this size from `from` on, if its content still has this tag. The server may answer
    /// with the whole file instead: if the tag is another one, or if a proxy does not support ranges.
    pub(super) async fn content(
        &self,
        file_id: &str,
        size_bytes: u64,
        from: u64,
        if_tag: Option<&str>,
    ) -> Result<Content, ClientError> {
        let mut request = self.request(Method::GET, &["files", file_id, "content"]);
        if let Some(tag) = if_tag.filter(|_| from > 0) {
            request = request.header(header::RANGE, format!("bytes={from}-")).header(header::IF_RANGE, tag);
        }
        let response = send(request).await?;
        let length = response.content_length();
        let begins_at = match response.status() {
            StatusCode::OK => Some(0).filter(|_| length.is_none_or(|length| length == size_bytes)),
            StatusCode::PARTIAL_CONTENT => Some(from).filter(|from| {
                content_range(&response) == Some(format!("bytes {from}-{}/{size_bytes}", size_bytes - 1))
            }),
            _ => None,
        };
        match begins_at {
            Some(from) => Ok(Content { from, tag: tag(&response), response }),
            None => Err(ResponseHead::of(&response).not_partway(false)),
        }
    }
}

fn content_range(response: &Response) -> Option<String> {
    Some(response.headers().get(header::CONTENT_RANGE)?.to_str().ok()?.to_owned())
}

/// A weak tag cannot be in `If-Range`, and Partway has none; a proxy that changes the bytes makes the tag weak.
fn tag(response: &Response) -> Option<String> {
    let tag = response.headers().get(header::ETAG)?.to_str().ok()?;
    tag.starts_with('"').then(|| tag.to_owned())
}

//! Requests of a tus client.

use axum::{
    body::{Body, Bytes},
    http::request::Builder,
};
use base64::{Engine, engine::general_purpose::STANDARD};
use futures_util::stream;
use serde_json::json;
use tokio::sync::mpsc;

use super::{Answer, FILE, TestUser, content, crc64nvme};

/// The media type of the bytes of a `PATCH`.
pub(crate) const BYTES: &str = "application/offset+octet-stream";

impl TestUser {
    /// A request with the version of the protocol.
    pub(crate) fn tus(&self, method: &str, path: &str) -> Builder {
        self.request(method, path).header("tus-resumable", "1.0.0")
    }

    /// Creates an upload. Returns its id.
    pub(crate) async fn tus_create(&self, size: usize, metadata: &str) -> String {
        let request = self.tus("POST", "/uploads/tus").header("upload-length", size);
        let request = request.header("upload-metadata", metadata);
        id_of(&self.send(request.body(Body::empty()).unwrap()).await.expect(201))
    }

    pub(crate) async fn tus_head(&self, id: &str) -> Answer {
        self.send(self.tus("HEAD", &format!("/uploads/tus/{id}")).body(Body::empty()).unwrap()).await
    }

    /// The offset of an upload.
    pub(crate) async fn tus_offset(&self, id: &str) -> usize {
        self.tus_head(id).await.expect(200).header("upload-offset").parse().unwrap()
    }

    /// The head of a `PATCH` that sends bytes at this offset.
    pub(crate) fn tus_patch_head(&self, id: &str, offset: usize) -> Builder {
        let request = self.tus("PATCH", &format!("/uploads/tus/{id}"));
        request.header("content-type", BYTES).header("upload-offset", offset)
    }

    pub(crate) async fn tus_patch(&self, id: &str, offset: usize, bytes: impl Into<Body>) -> Answer {
        self.send(self.tus_patch_head(id, offset).body(bytes.into()).unwrap()).await
    }
}

/// The id of the upload that an answer names.
pub(crate) fn id_of(created: &Answer) -> String {
    created.header("location").rsplit('/').next().unwrap().to_owned()
}

pub(crate) fn base64(text: impl AsRef<[u8]>) -> String {
    STANDARD.encode(text)
}

/// The sender of a body in pieces. The body ends when the sender is dropped, and breaks off if the sender says so.
pub(crate) struct BodySender(mpsc::UnboundedSender<std::io::Result<Bytes>>);

/// A body that the test sends in pieces.
pub(crate) fn body_in_pieces() -> (BodySender, Body) {
    let (sender, receiver) = mpsc::unbounded_channel();
    let pieces = stream::unfold(receiver, |mut receiver| async move { Some((receiver.recv().await?, receiver)) });
    (BodySender(sender), Body::from_stream(pieces))
}

impl BodySender {
    pub(crate) fn send(&self, bytes: &[u8]) {
        // The server drops a body that it refuses.
        let _ = self.0.send(Ok(Bytes::copy_from_slice(bytes)));
    }

    /// Breaks the connection.
    pub(crate) fn cut(self) {
        let _ = self.0.send(Err(std::io::ErrorKind::ConnectionReset.into()));
    }
}

/// A body whose connection breaks after these bytes.
pub(crate) fn cut_after(bytes: &[u8]) -> Body {
    let (sender, body) = body_in_pieces();
    sender.send(bytes);
    sender.cut();
    body
}

/// Asserts that every protocol sees the upload of [`FILE`] as stored.
pub(crate) async fn assert_stored_by_tus(user: &TestUser, id: &str) {
    let session = user.status(id).await;
    assert_eq!((&session["status"], &session["file"]["crc64nvme"]), (&json!("COMPLETE"), &json!(crc64nvme(FILE))));
    assert_eq!(content(user, &session).await.expect(200).bytes, FILE);
    assert_eq!(user.tus_offset(id).await, FILE.len());
}

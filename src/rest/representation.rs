//! Answers with validators (`ETag`, `Last-Modified`) for conditional requests.
//!
//! Owns which validator each resource has. Does not own the evaluation of conditions: that is `http/preconditions.rs`.

use axum::{
    http::{HeaderName, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use serde::Serialize;

use crate::{
    domain::{FileRecord, PartRecord, Session, Sha256Digest, Timestamp},
    error::{Error, Result},
    http::{Freshness, Preconditions, Validator},
};

/// Only the client may cache the answer, and must validate it before each use.
const CACHE_CONTROL: &str = "private, no-cache";

/// A session's tag is its version.
pub(super) fn of_session(session: &Session) -> Validator {
    Validator::new(session.version, session.updated_at)
}

/// A part's tag is its SHA-256.
pub(super) fn of_part(part: &PartRecord) -> Validator {
    Validator::new(part.sha256, part.received_at)
}

/// The tag of a file's content is its SHA-256, with which clients can compare copies. Without one it is the file's id, since
/// stored bytes never change.
pub(super) fn of_content(file: &FileRecord) -> Validator {
    match file.sha256 {
        Some(digest) => Validator::new(digest, file.updated_at),
        None => Validator::new(file.id.0, file.updated_at),
    }
}

/// A validator for JSON without a version: its tag is the SHA-256 of the JSON.
pub(super) fn of_json(body: &impl Serialize, modified: Timestamp) -> Result<Validator> {
    let json = serde_json::to_vec(body).map_err(Error::internal)?;
    Ok(Validator::new(Sha256Digest::of(&json), modified))
}

/// A body that is already JSON.
pub(super) struct Encoded(pub(super) Bytes);

impl IntoResponse for Encoded {
    fn into_response(self) -> Response {
        ([(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))], self.0).into_response()
    }
}

/// Answers a read: 200 with this body, or 304 if the client's copy is current.
pub(super) fn answer(conditions: &Preconditions, current: &Validator, body: impl IntoResponse) -> Result<Response> {
    Ok(match conditions.freshness(current)? {
        Freshness::NotModified => not_modified(current.etag()),
        Freshness::Modified => (headers(current), body).into_response(),
    })
}

/// Answers 304 if the client has this version of a session.
pub(super) fn unchanged(conditions: &Preconditions, version: u64) -> Option<Response> {
    conditions.if_none_match_lists(version).map(not_modified)
}

/// Answers 304 with the headers that a cache needs.
pub(super) fn not_modified(etag: String) -> Response {
    let headers = [(header::ETAG, etag), (header::CACHE_CONTROL, CACHE_CONTROL.to_owned())];
    (StatusCode::NOT_MODIFIED, headers).into_response()
}

/// The headers of an answer with this validator.
pub(super) fn headers(current: &Validator) -> [(HeaderName, String); 3] {
    [
        (header::ETAG, current.etag()),
        (header::LAST_MODIFIED, current.last_modified()),
        (header::CACHE_CONTROL, CACHE_CONTROL.to_owned()),
    ]
}

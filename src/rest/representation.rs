//! Answers that say which state they show, so that clients can make requests depend on it.

use axum::{
    Json,
    http::{HeaderName, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::Serialize;

use crate::{
    domain::{FileRecord, PartRecord, Session, Sha256Digest, Timestamp},
    error::{Error, Result},
    http::{Freshness, Preconditions, Validator},
};

/// Kept by the client alone, and not used again without asking.
const CACHE: &str = "private, no-cache";

/// A session's state is its version.
pub(super) fn of_session(session: &Session) -> Validator {
    Validator::new(session.version, session.updated_at)
}

/// A part's state is its bytes.
pub(super) fn of_part(part: &PartRecord) -> Validator {
    Validator::new(part.sha256, part.received_at)
}

/// Stored bytes never change, so the file's id would do; the digest lets a client compare copies.
pub(super) fn of_content(file: &FileRecord) -> Validator {
    match file.sha256 {
        Some(digest) => Validator::new(digest, file.updated_at),
        None => Validator::new(file.id.0, file.updated_at),
    }
}

/// JSON that has no better name for its state than its own digest.
pub(super) fn of_json(body: &impl Serialize, modified: Timestamp) -> Result<Validator> {
    let json = serde_json::to_vec(body).map_err(Error::internal)?;
    Ok(Validator::new(Sha256Digest::of(&json), modified))
}

/// Answers a read: with JSON, or that the client has it already.
pub(super) fn answer(conditions: &Preconditions, current: &Validator, body: impl Serialize) -> Result<Response> {
    Ok(match conditions.freshness(current)? {
        Freshness::NotModified => not_modified(current.etag()),
        Freshness::Modified => (headers(current), Json(body)).into_response(),
    })
}

/// Of what the client has already, only what its cache needs.
pub(super) fn not_modified(etag: String) -> Response {
    (StatusCode::NOT_MODIFIED, [(header::ETAG, etag), (header::CACHE_CONTROL, CACHE.to_owned())]).into_response()
}

/// The headers that name a state.
pub(super) fn headers(current: &Validator) -> [(HeaderName, String); 3] {
    [
        (header::ETAG, current.etag()),
        (header::LAST_MODIFIED, current.last_modified()),
        (header::CACHE_CONTROL, CACHE.to_owned()),
    ]
}

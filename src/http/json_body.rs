//! JSON in a request's body.
//!
//! Owns the check of the media type, and the parsing of a JSON object. Does not own the fields: those are in `rest` and
//! `graphql`.

use axum::{
    Json,
    body::Bytes,
    extract::Request,
    http::{HeaderMap, header},
};
use serde::de::DeserializeOwned;

use super::body::read_whole;
use crate::error::{Error, Result};

pub(super) const MEDIA_TYPE: &str = "application/json";

/// Reads a whole JSON body and checks every digest that the request declares. `what` is the noun for the error text.
///
/// # Errors
/// `UNSUPPORTED_MEDIA_TYPE`, `TOO_LARGE`, `INVALID_INPUT`, `CHECKSUM_MISMATCH`, or `UNAVAILABLE` if the body stops arriving.
pub(crate) async fn read_json(request: Request, what: &str, max_bytes: usize) -> Result<Bytes> {
    if is_json(request.headers()) { read_whole(request, what, max_bytes).await } else { Err(Error::not_json()) }
}

/// The same, but an empty body needs no media type.
pub(crate) async fn read_optional_json(request: Request, what: &str, max_bytes: usize) -> Result<Bytes> {
    let is_json = is_json(request.headers());
    let body = read_whole(request, what, max_bytes).await?;
    if is_json || body.is_empty() { Ok(body) } else { Err(Error::not_json()) }
}

fn is_json(headers: &HeaderMap) -> bool {
    let content_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    content_type.parse::<mime::Mime>().is_ok_and(|mime| mime.essence_str() == MEDIA_TYPE)
}

/// The fields of a JSON object.
///
/// # Errors
/// `INVALID_INPUT`.
pub(crate) fn parse_object<T: DeserializeOwned>(json: &[u8]) -> Result<T> {
    // serde also reads a struct from an array, field by field. The API accepts only objects.
    if !json.trim_ascii_start().starts_with(b"{") {
        return Err(Error::malformed("the body must be a JSON object"));
    }
    let Json(value) = Json::from_bytes(json).map_err(|problem| Error::malformed(problem.body_text()))?;
    Ok(value)
}

//! The fields of tus in the head of a request and of an answer.
//!
//! Owns their names, the values that are numbers or dates, and the rule that no field comes twice. Does not own
//! `Upload-Metadata` and `Upload-Checksum`: those are in `metadata` and `checksum`.

use std::time::SystemTime;

use axum::{
    extract::Request,
    http::{HeaderMap, HeaderName, HeaderValue, header},
    middleware::Next,
    response::Response,
};

use super::protocol::{METHOD_OVERRIDE, RESUMABLE};
use crate::{
    domain::Upload,
    error::{Error, Result},
    http::Problem,
    http::media_type,
};

pub(super) const LENGTH: HeaderName = HeaderName::from_static("upload-length");
pub(super) const OFFSET: HeaderName = HeaderName::from_static("upload-offset");
pub(super) const METADATA: HeaderName = HeaderName::from_static("upload-metadata");
pub(super) const CHECKSUM: HeaderName = HeaderName::from_static("upload-checksum");
pub(super) const CONCAT: HeaderName = HeaderName::from_static("upload-concat");
pub(super) const DEFER_LENGTH: HeaderName = HeaderName::from_static("upload-defer-length");
pub(super) const EXPIRES: HeaderName = HeaderName::from_static("upload-expires");

/// The media type of bytes that a client appends.
pub(super) const MEDIA_TYPE: &str = "application/offset+octet-stream";

/// The fields that a request has once, and how errors name them. `Idempotency-Key` is in `http`.
static SINGLE: [(HeaderName, &str); 7] = [
    (RESUMABLE, "tus_resumable"),
    (METHOD_OVERRIDE, "x_http_method_override"),
    (header::CONTENT_TYPE, "content_type"),
    (LENGTH, "upload_length"),
    (OFFSET, "upload_offset"),
    (METADATA, "upload_metadata"),
    (CHECKSUM, "upload_checksum"),
];

/// The layer that refuses a field that comes twice. The handlers read the first line, and a proxy or the client may mean the
/// second. Lets safe methods pass: they read none of these fields, and a refused `HEAD` would be asked again for ever.
///
/// # Errors
/// `INVALID_INPUT` naming the field.
pub(super) async fn refuse_doubled(request: Request, next: Next) -> Result<Response, Problem> {
    let doubled = SINGLE.iter().find(|(name, _)| request.headers().get_all(name).iter().nth(1).is_some());
    match doubled.filter(|_| !request.method().is_safe()) {
        Some((_, field)) => Err(Error::doubled(field).into()),
        None => Ok(next.run(request).await),
    }
}

/// Whether the body has bytes to append.
pub(super) fn has_bytes(headers: &HeaderMap) -> bool {
    media_type(headers) == MEDIA_TYPE
}

/// `Upload-Length` or `Upload-Offset`: a number of bytes.
///
/// # Errors
/// `INVALID_INPUT` naming `field` if there is none, or if it is no number of bytes.
pub(super) fn bytes(headers: &HeaderMap, name: &HeaderName, field: &'static str) -> Result<u64> {
    let value = headers.get(name).ok_or_else(|| Error::invalid(field, "this header is required"))?;
    let digits = value.to_str().ok().filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
    // No file has more bytes than an i64 can count.
    let number = digits.and_then(|digits| digits.parse::<u64>().ok()).filter(|number| i64::try_from(*number).is_ok());
    number.ok_or_else(|| Error::invalid(field, "must be a number of bytes"))
}

/// How many bytes of the file the client need not send. The whole length means success to a client, so it is told only of a
/// stored file: `None` if the server has all bytes and could not store the file yet.
///
/// # Errors
/// `SESSION_CLOSED` if the session ended without a file, or its file was deleted.
pub(super) fn offset(upload: &Upload) -> Result<Option<u64>> {
    let Upload { session, file } = upload;
    match session.contiguous_bytes() {
        _ if upload.is_stored() => Ok(Some(file.size_bytes)),
        _ if !session.status.is_open() => Err(Error::session_closed(session)),
        bytes => Ok(Some(bytes).filter(|bytes| *bytes < file.size_bytes)),
    }
}

/// When an unfinished upload expires, as `Upload-Expires`. `None` if the upload has ended.
pub(super) fn expiry(upload: &Upload) -> Option<(HeaderName, HeaderValue)> {
    let expires_at = Some(upload.session.expires_at).filter(|_| upload.session.status.is_open())?;
    let date = httpdate::fmt_http_date(SystemTime::from(expires_at));
    Some((EXPIRES, HeaderValue::try_from(date).ok()?))
}

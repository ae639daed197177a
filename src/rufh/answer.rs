//! The answers of the protocol.
//!
//! Owns the status and the headers of an answer: about the upload (`Upload-Complete: ?0`), or about the file that it became
//! (`?1`). Also owns which problem type and status an error code has in this protocol.

use axum::{
    Json,
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde_json::{Map, Value};

use super::{call::Call, fields};
use crate::{
    domain::{FileStatus, Upload},
    error::{Code, Error},
    http::{FileRecordBody, Problem, ProblemType},
};

const MISMATCHING_OFFSET: &str = "https://iana.org/assignments/http-problem-types#mismatching-upload-offset";
const INCONSISTENT_LENGTH: &str = "https://iana.org/assignments/http-problem-types#inconsistent-upload-length";
/// The field that an error about the length of the file names.
pub(super) const LENGTH_FIELD: &str = "upload_length";

/// The request that an answer is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    /// It created the upload.
    Creation,
    /// It appended to the upload.
    Append,
}

/// The target's own answer: the record of the stored file.
pub(super) async fn stored(call: &Call, upload: Upload) -> Response {
    let upload = call.with_wanted_digest(upload).await;
    let location = located(header::LOCATION, call.file_url(upload.file.id));
    let digest = upload.file.sha256.filter(|_| fields::wants_digest(&call.headers)).map(fields::repr_digest);
    let headers: HeaderMap = location.into_iter().chain(digest).collect();
    (StatusCode::CREATED, headers, Json(FileRecordBody::from(upload.file))).into_response()
}

/// The target's own answer to a file that it did not store.
pub(super) fn not_stored(call: &Call, error: Error) -> Response {
    let is_about_size = [Code::TooLarge, Code::LengthRequired].contains(&error.code());
    let mut response = Problem(error).into_response();
    response.headers_mut().extend(is_about_size.then(|| call.limit(None)));
    response
}

/// The target's own answer at the end of a resumable upload.
pub(super) async fn finished(call: &Call, upload: Upload, origin: Origin) -> Response {
    let upload = call.with_wanted_digest(upload).await;
    let (id, file) = (upload.session.id, &upload.file);
    let mut headers = HeaderMap::from_iter([fields::complete(true), fields::offset(file.size_bytes), call.limit(None)]);
    headers.extend(file.sha256.map(fields::repr_digest));
    if origin == Origin::Creation && call.version.always_locates_upload() {
        headers.extend(located(header::CONTENT_LOCATION, call.file_url(file.id)));
        headers.extend(located(header::LOCATION, call.upload_url(id)));
    }
    let mut response = stored(call, upload).await;
    // A header of this answer replaces the target's.
    response.headers_mut().extend(headers);
    response
}

/// The server has the request's bytes, and the client sends more.
pub(super) fn unfinished(call: &Call, upload: &Upload, offset: u64, origin: Origin) -> Response {
    let session = &upload.session;
    let mut headers =
        HeaderMap::from_iter([fields::complete(false), fields::offset(offset), call.limit(Some(session))]);
    match origin {
        Origin::Creation => {
            headers.extend(located(header::LOCATION, call.upload_url(session.id)));
            (StatusCode::CREATED, headers).into_response()
        }
        Origin::Append => (StatusCode::NO_CONTENT, headers).into_response(),
    }
}

/// An error. `upload` is the present state of the upload, if it is known.
pub(super) fn refused(call: &Call, error: Error, upload: Option<&Upload>) -> Response {
    let code = error.code();
    let detail = |key: &str| error.details().get(key).cloned();
    let is_beyond_end = upload.is_some_and(|upload| detail("limit_bytes") == Some(upload.file.size_bytes.into()));
    let is_about_length = error.field() == Some(LENGTH_FIELD) || is_beyond_end;
    let offsets = (detail("expected_offset"), detail("provided_offset"));
    let ended = upload.filter(|upload| !upload.session.status.is_open());
    // The file's own digest was wrong: no more bytes will change that.
    let is_final = code == Code::ChecksumMismatch && ended.is_some();
    let is_stored = ended.is_some_and(|upload| upload.file.status == FileStatus::Stored);

    let mut response = not_stored(call, error);
    // The draft wants `?0` with every wrong offset.
    let is_complete = is_final || (is_stored && code != Code::OffsetMismatch);
    let mut headers = HeaderMap::from_iter([fields::complete(is_complete)]);
    let present = upload.filter(|upload| is_stored || upload.session.status.is_open());
    let present = present.map(|upload| upload.session.contiguous_bytes());
    let expected = offsets.0.as_ref().and_then(Value::as_u64);
    headers.extend(expected.or(present).map(fields::offset));
    match code {
        Code::OffsetMismatch => {
            if let (Some(expected), Some(provided)) = offsets {
                let members = [("expected-offset", expected), ("provided-offset", provided)];
                let members: Map<_, _> = members.map(|(name, value)| (name.to_owned(), value)).into_iter().collect();
                let title = "Mismatching Upload Offset";
                response.extensions_mut().insert(ProblemType { uri: MISMATCHING_OFFSET, title, members });
            }
        }
        Code::InvalidInput | Code::TooLarge if is_about_length => {
            let title = "Inconsistent Upload Length Values";
            response.extensions_mut().insert(ProblemType { uri: INCONSISTENT_LENGTH, title, members: Map::new() });
        }
        Code::UnsupportedMediaType => {
            response.headers_mut().remove(header::ACCEPT);
            headers.insert(fields::ACCEPT_PATCH, HeaderValue::from_static(fields::MEDIA_TYPE));
        }
        _ => {}
    }
    if let Some(status) = status(code, is_about_length, is_stored) {
        *response.status_mut() = status;
    }
    response.headers_mut().extend(headers);
    response
}

/// The status of an error code, if it differs from the one in the table of codes. A client goes on after a server error, and
/// some also after a 409.
fn status(code: Code, is_about_length: bool, is_stored: bool) -> Option<StatusCode> {
    match code {
        Code::TooLarge if is_about_length => Some(StatusCode::BAD_REQUEST),
        Code::Busy => Some(StatusCode::SERVICE_UNAVAILABLE),
        // A rival that is alive must stop. After a 409 some clients would take over again.
        Code::Superseded => Some(StatusCode::BAD_REQUEST),
        // After a 409 some clients would append their bytes to those of another file.
        Code::PartConflict => Some(StatusCode::UNPROCESSABLE_ENTITY),
        Code::SessionClosed if !is_stored => Some(StatusCode::GONE),
        _ => None,
    }
}

fn located(name: HeaderName, url: String) -> Option<(HeaderName, HeaderValue)> {
    HeaderValue::try_from(url).ok().map(|url| (name, url))
}

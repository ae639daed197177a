//! `/files`: the target of uploads. One request is one file, or the first of several for one file.
//!
//! Owns what the head of the first request says about the file.

use axum::{
    body::{Body, HttpBody},
    http::{HeaderMap, header},
    response::Response,
};

use super::{
    answer::{LENGTH_FIELD, Origin, finished, not_stored, refused, stored},
    call::Call,
    disposition, fields,
    upload::receive as receive_bytes,
    version::Version,
};
use crate::{
    domain::Sha256Digest,
    error::{Error, Result},
    http::{CheckedBody, FileRecordBody, idempotency_key, media_type, openapi, refuse_partial, take_digest_of_file},
    service::{Append, CreateSession, UNNAMED},
};

/// What `curl` calls every body, and what a client calls the bytes that it appends. No file has these types.
const NOT_OF_A_FILE: [&str; 2] = ["application/x-www-form-urlencoded", fields::MEDIA_TYPE];
const FORM: &str = "multipart/form-data";

/// Store a file in one request
///
/// The body is the bytes of the file. A request that breaks off leaves nothing, and may be repeated with the same key. With the header
/// `Upload-Complete`, this is the first request of a resumable upload of the IETF, which this document does not describe.
#[utoipa::path(
    post, path = "/files", operation_id = "storeFile", tag = "files",
    params(openapi::Disposition, openapi::ContentDigest, openapi::ReprDigest, openapi::IdempotencyKey),
    request_body(
        content((inline(openapi::Binary) = "*/*"), (inline(openapi::Binary) = "application/octet-stream")),
        description = "The bytes of the file, with its media type. Not a form.",
    ),
    responses(
        (status = 201, description = "The record of the stored file.", body = FileRecordBody,
            headers(("Location"), ("Repr-Digest"))),
    ),
)]
pub(super) async fn receive(mut call: Call, body: Body) -> Response {
    let complete = fields::boolean(&call.headers, &fields::COMPLETE);
    let is_unknown = call.version == Version::Unknown;
    let is_unfinished = complete == Some(false) || fields::boolean(&call.headers, &fields::INCOMPLETE) == Some(true);
    match complete {
        // What the client calls incomplete must not become a file.
        _ if is_unfinished && (is_unknown || complete.is_none()) => {
            not_stored(&call, Error::invalid("upload_draft_interop_version", "the server speaks the versions 5 to 8"))
        }
        Some(is_last) if !is_unknown => {
            let created = create(&mut call, is_last, body).await;
            created.unwrap_or_else(|error| refused(&call, error, None))
        }
        _ => {
            let stored = store(&mut call, body).await;
            stored.unwrap_or_else(|error| not_stored(&call, error))
        }
    }
}

/// Creates an upload that can be resumed, and appends the body to it.
async fn create(call: &mut Call, is_last: bool, body: Body) -> Result<Response> {
    let (file, first) = read(call, body, is_last)?;
    let upload = call.service.create(&call.principal, file).await?.upload;
    match upload.session.status {
        // An earlier request with the same idempotency key was successful.
        _ if upload.is_stored() => return Ok(finished(call, upload, Origin::Creation).await),
        status if !status.is_open() => return Err(Error::session_closed(&upload.session)),
        _ => call.announce(&upload.session).await,
    }
    Ok(receive_bytes(call, &upload, first, Origin::Creation).await)
}

/// Stores a whole file, which cannot be resumed.
async fn store(call: &mut Call, body: Body) -> Result<Response> {
    let (file, whole) = read(call, body, true)?;
    let upload = Box::pin(call.service.store(&call.principal, file, whole)).await?;
    Ok(stored(call, upload).await)
}

/// The session and the bytes of a first request. `is_whole`: whether the body is the whole file.
fn read(call: &mut Call, body: Body, is_whole: bool) -> Result<(CreateSession, Append<CheckedBody>)> {
    refuse_partial(&call.headers, "send the whole file, or its first bytes with Upload-Complete: ?0")?;
    let declared_bytes = body.size_hint().exact();
    let length = length(&call.headers, declared_bytes, is_whole)?;
    let of_file = take_digest_of_file(&mut call.headers)?;
    let (body, of_file, is_verified) = match is_whole {
        // The digest of the content is then that of the file, which the server checks at the end, so that a cut request
        // leaves what had arrived.
        true => {
            let (body, of_content) = CheckedBody::new(&call.headers, body)?;
            (body, same(of_file, of_content.sha256)?, of_content.has_sha512())
        }
        false => {
            let (body, is_verified) = CheckedBody::checking_all(&call.headers, body)?;
            (body, of_file, is_verified)
        }
    };
    let session = CreateSession {
        original_filename: disposition::filename(&call.headers).unwrap_or_else(|| UNNAMED.to_owned()),
        content_type: content_type(&call.headers)?,
        total_size_bytes: i64::try_from(length).unwrap_or(i64::MAX),
        sha256: of_file.map(|digest| digest.to_string()),
        idempotency_key: idempotency_key(&call.headers)?,
        ..CreateSession::default()
    };
    Ok((session, Append { offset: 0, declared_bytes, is_verified, finalizes: is_whole, body }))
}

/// The length of the file: `Upload-Length`, or that of a body that is the whole file.
fn length(headers: &HeaderMap, body_bytes: Option<u64>, is_whole: bool) -> Result<u64> {
    let declared = fields::integer(headers, &fields::LENGTH);
    match (declared, body_bytes) {
        (Some(length), Some(body)) if body > length || (is_whole && body < length) => {
            Err(Error::invalid(LENGTH_FIELD, format!("is {length}, and the body has {body} bytes")))
        }
        (Some(length), _) => Ok(length),
        (None, Some(body)) if is_whole => Ok(body),
        (None, _) => Err(Error::length_required("send it in Upload-Length")),
    }
}

fn same(of_file: Option<Sha256Digest>, of_content: Option<Sha256Digest>) -> Result<Option<Sha256Digest>> {
    match (of_file, of_content) {
        (Some(file), Some(content)) if file != content => {
            Err(Error::invalid("repr_digest", "the body is the whole file, and Content-Digest differs"))
        }
        (file, content) => Ok(file.or(content)),
    }
}

fn content_type(headers: &HeaderMap) -> Result<Option<String>> {
    let essence = media_type(headers);
    if essence == FORM {
        return Err(Error::invalid(
            "content_type",
            "send the bytes of one file as the body, without a form around them",
        ));
    }
    let value = headers.get(header::CONTENT_TYPE).filter(|_| !NOT_OF_A_FILE.contains(&essence.as_str()));
    let text = value.map(|value| value.to_str().map(str::to_owned)).transpose();
    text.map_err(|_| Error::invalid("content_type", "must be a media type such as video/mp4"))
}

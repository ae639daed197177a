//! `POST /uploads/tus`: creation, also with the first bytes.

use std::sync::Arc;

use axum::{
    Extension,
    body::Body,
    extract::State,
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};

use super::{
    checksum::{VerifiedBody, bytes_at},
    fields,
    metadata::UploadMetadata,
    protocol::Versioned,
};
use crate::{
    domain::{Principal, SessionStatus, Upload},
    error::{Code, Error, Result},
    http::{Caller, Problem, PublicUrl, idempotency_key},
    service::{Append, Appended, CreateSession, Creation, Service},
};

pub(super) async fn create(
    State(service): State<Arc<Service>>,
    Extension(public_url): Extension<PublicUrl>,
    _: Versioned,
    Caller(principal): Caller,
    mut headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let input = input(&headers)?;
    let first_bytes = match fields::has_bytes(&headers) {
        true => Some(first_bytes(&mut headers, body, input.total_size_bytes)?),
        false => None,
    };
    // The server neither stores nor compares the bytes for a session that an earlier request created.
    let mut offset = first_bytes.as_ref().map(|_| 0);
    let Creation { mut upload, is_new } = service.create(&principal, input).await?;
    if let Some(bytes) = first_bytes.filter(|_| is_new) {
        (upload, offset) = append_first(&service, &principal, upload, bytes).await?;
    }
    Ok(created(&upload, offset, &public_url, &headers)?)
}

fn input(headers: &HeaderMap) -> Result<CreateSession> {
    if headers.contains_key(fields::CONCAT) {
        return Err(Error::invalid("upload_concat", "the server does not concatenate uploads"));
    }
    if headers.contains_key(fields::DEFER_LENGTH) {
        return Err(Error::invalid("upload_defer_length", "send Upload-Length; the server must know the length first"));
    }
    let length = fields::bytes(headers, &fields::LENGTH, "upload_length")?;
    let metadata = UploadMetadata::read(headers)?;
    Ok(CreateSession {
        original_filename: metadata.filename(),
        content_type: metadata.content_type(),
        total_size_bytes: i64::try_from(length).unwrap_or(i64::MAX),
        sha256: metadata.sha256(),
        crc64nvme: None,
        metadata: Some(metadata.to_json()?),
        idempotency_key: idempotency_key(headers)?,
        auto_finalize: true,
        upload_metadata: Some(metadata.raw),
        retain_until: None,
    })
}

/// The bytes in the body, after the checks that need no session.
fn first_bytes(headers: &mut HeaderMap, body: Body, total_bytes: i64) -> Result<Append<VerifiedBody>> {
    let append = bytes_at(0, headers, body)?;
    let total_bytes = total_bytes.unsigned_abs();
    match append.declared_bytes {
        Some(declared) if declared > total_bytes => Err(Error::too_large("the body of this request", total_bytes)),
        _ => Ok(append),
    }
}

/// Appends the first bytes to a new session, also to one that is complete because its file is empty. Returns how many of them
/// the server has. If that fails and the client can go on, it needs the upload's URL more than the error. If the bytes are
/// wrong, the client will not go on, so the session ends.
async fn append_first(
    service: &Arc<Service>,
    principal: &Principal,
    upload: Upload,
    bytes: Append<VerifiedBody>,
) -> Result<(Upload, Option<u64>)> {
    let id = upload.session.id;
    match service.append(principal, id, bytes).await {
        Ok(Appended { offset, upload }) => Ok((upload, Some(offset))),
        Err(error) if error.code() == Code::Unavailable => {
            error.log();
            let upload = service.status(principal, id).await?;
            let offset = fields::offset(&upload)?;
            Ok((upload, offset))
        }
        // A request with the same key has found the session. What the server has may be the bytes of its client.
        Err(error) if matches!(error.code(), Code::Busy | Code::Superseded) => {
            error.log();
            Ok((service.status(principal, id).await?, Some(0)))
        }
        Err(error) => {
            // If this fails, the session expires.
            let _ = service.abort(principal, id, |_| true).await;
            Err(error)
        }
    }
}

/// The answer, also if an earlier request with the same idempotency key created the session. `offset` is how many bytes of this
/// request the server has.
fn created(upload: &Upload, offset: Option<u64>, public_url: &PublicUrl, request: &HeaderMap) -> Result<Response> {
    // Refuses a session that ended without a file, or whose file was deleted.
    fields::offset(upload)?;
    if upload.file.size_bytes == 0 && upload.session.status != SessionStatus::Complete {
        // The client sends no further request for an empty file.
        return Err(Error::not_stored_yet());
    }
    let location = public_url.absolute(request, &format!("/uploads/tus/{}", upload.session.id));
    let offset = offset.map(|offset| (fields::OFFSET, HeaderValue::from(offset)));
    let headers: HeaderMap = offset.into_iter().chain(fields::expiry(upload)).collect();
    Ok((StatusCode::CREATED, [(header::LOCATION, location)], headers).into_response())
}

//! `/uploads/resumable/{id}`: the offset of an upload, further bytes, and its end.

use axum::{
    body::{Body, HttpBody},
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};

use super::{
    answer::{LENGTH_FIELD, Origin, finished, refused, unfinished},
    call::Call,
    fields,
};
use crate::{
    domain::{SessionStatus, Upload},
    error::{Error, Result},
    http::{CheckedBody, SessionPath, media_type, refuse_partial},
    service::{Append, Appended},
};

/// `HEAD` and `GET`: how many bytes the server has, and whether the file is stored. Some clients take an offset at the end of
/// the file for success. So if the client has sent its last bytes, it is told that offset only once the file is stored.
pub(super) async fn status(call: Call, SessionPath(id): SessionPath) -> Response {
    match call.service.settled_status(&call.principal, id).await.and_then(remains) {
        Ok(upload) => {
            let session = &upload.session;
            let fields = [
                fields::complete(session.status == SessionStatus::Complete),
                fields::offset(session.contiguous_bytes()),
                (fields::LENGTH, HeaderValue::from(upload.file.size_bytes)),
                call.limit(Some(session)),
                (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
            ];
            (StatusCode::NO_CONTENT, HeaderMap::from_iter(fields)).into_response()
        }
        Err(error) => refused(&call, error, None),
    }
}

fn remains(upload: Upload) -> Result<Upload> {
    match upload.session.status.is_open() || upload.is_stored() {
        true => Ok(upload),
        false => Err(Error::session_closed(&upload.session)),
    }
}

/// `PATCH`: further bytes.
pub(super) async fn append(call: Call, SessionPath(id): SessionPath, body: Body) -> Response {
    let upload = match call.service.status(&call.principal, id).await.and_then(remains) {
        Ok(upload) => upload,
        Err(error) => return refused(&call, error, None),
    };
    match further_bytes(&call, &upload, body) {
        Ok(bytes) => receive(&call, &upload, bytes, Origin::Append).await,
        Err(error) => refused(&call, error, Some(&upload)),
    }
}

fn further_bytes(call: &Call, upload: &Upload, body: Body) -> Result<Append<CheckedBody>> {
    refuse_partial(&call.headers, "Upload-Offset gives the position of the bytes")?;
    if call.version.has_media_type() && media_type(&call.headers) != fields::MEDIA_TYPE {
        return Err(Error::unsupported_media_type(fields::MEDIA_TYPE));
    }
    let required = |field| Error::invalid(field, "this header is required");
    let offset = fields::integer(&call.headers, &fields::OFFSET).ok_or_else(|| required("upload_offset"))?;
    let finalizes = fields::boolean(&call.headers, &fields::COMPLETE).ok_or_else(|| required("upload_complete"))?;
    let declared_bytes = body.size_hint().exact();
    check_length(call, upload, offset, declared_bytes, finalizes)?;
    let (body, is_verified) = CheckedBody::checking_all(&call.headers, body)?;
    Ok(Append { offset, declared_bytes, is_verified, finalizes, body })
}

/// Refuses a request that declares another length of the file than the first request did. If its offset is wrong, that is
/// the error, and not the end of its bytes.
fn check_length(call: &Call, upload: &Upload, offset: u64, bytes: Option<u64>, finalizes: bool) -> Result<()> {
    let (length, session) = (upload.file.size_bytes, &upload.session);
    let other_length = || Error::invalid(LENGTH_FIELD, format!("the file has {length} bytes, as declared before"));
    if fields::integer(&call.headers, &fields::LENGTH).is_some_and(|declared| declared != length) {
        return Err(other_length());
    }
    let Some(end) = bytes.map(|bytes| offset.saturating_add(bytes)) else { return Ok(()) };
    match session.accepts_append_at(offset) {
        true if end > length || (finalizes && end < length) => Err(other_length()),
        false if end > length => Err(Error::offset_mismatch(session.contiguous_bytes(), offset)),
        _ => Ok(()),
    }
}

/// Receives bytes of an upload, and answers.
pub(super) async fn receive(call: &Call, upload: &Upload, bytes: Append<CheckedBody>, origin: Origin) -> Response {
    let (id, finalizes) = (upload.session.id, bytes.finalizes);
    let append = Box::pin(call.service.append(&call.principal, id, bytes));
    match call.reporting(&upload.session, append).await {
        Ok(Appended { upload, .. }) if upload.session.status == SessionStatus::Complete => {
            finished(call, upload, origin).await
        }
        Ok(Appended { offset, upload }) if !finalizes => unfinished(call, &upload, offset, origin),
        Ok(Appended { upload, .. }) => {
            let error = Error::invalid(LENGTH_FIELD, "the body ended before the end of the file");
            refused(call, error, Some(&upload))
        }
        Err(error) => {
            let present = call.service.status(&call.principal, id).await.ok();
            refused(call, error, present.as_ref())
        }
    }
}

/// `DELETE`: the end of an upload, whatever its state. Deletes the file of a complete one.
pub(super) async fn cancel(call: Call, SessionPath(id): SessionPath) -> Response {
    match call.service.terminate(&call.principal, id).await {
        Ok(()) => StatusCode::NO_CONTENT.into_response(),
        Err(error) => {
            let present = call.service.status(&call.principal, id).await.ok();
            refused(&call, error, present.as_ref())
        }
    }
}

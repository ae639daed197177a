//! `/uploads/tus/{id}`: the status of an upload, further bytes, its end, and its file.

use std::sync::Arc;

use axum::{
    Extension,
    body::Body,
    extract::State,
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};

use super::{checksum::bytes_at, fields, metadata, protocol::Versioned};
use crate::{
    domain::{FileStatus, Principal, SessionId},
    error::{Code, Error},
    http::{Problem, PublicUrl, SessionPath, UploadCaller},
    service::{Appended, Service},
};

/// `HEAD`: how many bytes the server has.
pub(super) async fn status(
    State(service): State<Arc<Service>>,
    UploadCaller { principal, .. }: UploadCaller,
    SessionPath(id): SessionPath,
) -> Result<Response, Problem> {
    let upload = service.settled_status(&principal, id).await?;
    let offset = fields::offset(&upload)?.ok_or_else(Error::not_stored_yet)?;
    let known = [
        (fields::OFFSET, HeaderValue::from(offset)),
        (fields::LENGTH, HeaderValue::from(upload.file.size_bytes)),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
    ];
    let metadata = metadata::describe(&upload.file).map(|value| (fields::METADATA, value));
    let headers: HeaderMap = known.into_iter().chain(metadata).chain(fields::expiry(&upload)).collect();
    Ok(headers.into_response())
}

/// `PATCH`: further bytes.
pub(super) async fn append(
    State(service): State<Arc<Service>>,
    _: Versioned,
    UploadCaller { principal, .. }: UploadCaller,
    SessionPath(id): SessionPath,
    mut headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    if !fields::has_bytes(&headers) {
        let problem = Problem(Error::unsupported_media_type(fields::MEDIA_TYPE));
        return Ok(([(header::ACCEPT, fields::MEDIA_TYPE)], problem).into_response());
    }
    let offset = fields::bytes(&headers, &fields::OFFSET, "upload_offset")?;
    let bytes = bytes_at(offset, &mut headers, body)?;
    match service.append(&principal, id, bytes).await {
        Ok(Appended { offset, upload }) => {
            let offset = [(fields::OFFSET, HeaderValue::from(offset))];
            let headers: HeaderMap = offset.into_iter().chain(fields::expiry(&upload)).collect();
            Ok((StatusCode::NO_CONTENT, headers).into_response())
        }
        Err(error) if matches!(error.code(), Code::OffsetMismatch | Code::Busy) => {
            Ok((present_offset(&service, &principal, id).await, Problem(error)).into_response())
        }
        Err(error) => Err(error.into()),
    }
}

/// The offset from which the client may go on, for a 409.
async fn present_offset(service: &Service, principal: &Principal, id: SessionId) -> HeaderMap {
    let upload = service.status(principal, id).await.ok();
    let offset = upload.and_then(|upload| fields::offset(&upload).ok().flatten());
    offset.map(|offset| (fields::OFFSET, HeaderValue::from(offset))).into_iter().collect()
}

/// `DELETE`: the end of an upload, whatever its state. Deletes the file of a complete one.
pub(super) async fn terminate(
    State(service): State<Arc<Service>>,
    _: Versioned,
    UploadCaller { principal, .. }: UploadCaller,
    SessionPath(id): SessionPath,
) -> Result<StatusCode, Problem> {
    service.terminate(&principal, id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// `GET`: where the stored file is. Uppy shows the upload's URL as a link.
pub(super) async fn download(
    State(service): State<Arc<Service>>,
    Extension(public_url): Extension<PublicUrl>,
    UploadCaller { principal, .. }: UploadCaller,
    SessionPath(id): SessionPath,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let upload = service.status(&principal, id).await?;
    if upload.file.status != FileStatus::Stored {
        return Err(Error::not_found("stored file").into());
    }
    let location = public_url.absolute(&headers, &format!("/files/{}/content", upload.file.id));
    // The address of this request may have a token.
    let headers = [(header::LOCATION, location), (header::REFERRER_POLICY, "no-referrer".to_owned())];
    Ok((StatusCode::SEE_OTHER, headers).into_response())
}

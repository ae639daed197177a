//! `/uploads/sessions/{id}/tokens`: tokens for one upload.

use std::sync::Arc;

use axum::{
    Extension, Json,
    extract::State,
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
};

use super::{
    NO_STORE,
    bodies::{ExpiresInBody, UploadTokenBody},
    extract::OptionalJsonBody,
};
use crate::{
    http::{Caller, Problem, PublicUrl, SessionPath, openapi},
    service::Service,
};

/// Create a token for one upload
///
/// The token can send the bytes of this session and ask for its state, and nothing else. Give it to a page or a device.
#[utoipa::path(
    post, path = "/uploads/sessions/{id}/tokens", operation_id = "createUploadToken", tag = "sessions",
    params(SessionPath, openapi::ContentDigest),
    request_body = Option<ExpiresInBody>,
    responses((status = 201, description = "The token.", body = UploadTokenBody, headers(("Cache-Control")))),
)]
pub(super) async fn create(
    State(service): State<Arc<Service>>,
    Extension(public_url): Extension<PublicUrl>,
    Caller(principal): Caller,
    SessionPath(id): SessionPath,
    headers: HeaderMap,
    OptionalJsonBody(body): OptionalJsonBody<ExpiresInBody>,
) -> Result<Response, Problem> {
    let created = service.create_upload_token(&principal, id, body.expires_in.as_deref()).await?;
    let upload_url = public_url.absolute(&headers, &format!("/uploads/tus/{id}"));
    Ok((StatusCode::CREATED, NO_STORE, Json(UploadTokenBody::new(&created, upload_url))).into_response())
}

//! `/files/{id}/links`: links to the content of one file.

use std::sync::Arc;

use axum::{
    Extension, Json,
    extract::State,
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
};

use super::{
    NO_STORE,
    bodies::{ExpiresInBody, LinkBody},
    extract::{FilePath, OptionalJsonBody},
};
use crate::{
    http::{Caller, Problem, PublicUrl, content_link, openapi},
    service::Service,
};

/// Create a link to the content of a file
///
/// Everybody who has the URL can read the file until the link expires: by default after an hour, at most after 7 days.
#[utoipa::path(
    post, path = "/files/{id}/links", operation_id = "createDownloadLink", tag = "files",
    params(FilePath, openapi::ContentDigest),
    request_body = Option<ExpiresInBody>,
    responses((status = 201, description = "The link.", body = LinkBody, headers(("Cache-Control")))),
)]
pub(super) async fn create(
    State(service): State<Arc<Service>>,
    Extension(public_url): Extension<PublicUrl>,
    Caller(principal): Caller,
    FilePath(id): FilePath,
    headers: HeaderMap,
    OptionalJsonBody(body): OptionalJsonBody<ExpiresInBody>,
) -> Result<Response, Problem> {
    let created = service.create_download_link(&principal, id, body.expires_in.as_deref()).await?;
    let url = public_url.absolute(&headers, &content_link(id, &created.token));
    Ok((StatusCode::CREATED, NO_STORE, Json(LinkBody { url, expires_at: created.expires_at })).into_response())
}

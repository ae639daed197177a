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
    http::{Caller, Problem, PublicUrl, content_link},
    service::Service,
};

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

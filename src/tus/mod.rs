//! The tus 1.0 edge: the [protocol](https://tus.io/protocols/resumable-upload) of many upload clients.
//!
//! Owns the routes, and how the protocol's headers are read and written. A handler reads the headers, calls use cases and
//! writes the answer. Does not own what the use case does: that is `service`. The id of a tus upload is the id of its session,
//! so every protocol sees the same upload.

mod checksum;
mod create;
mod fields;
mod metadata;
mod protocol;
mod upload;

use std::sync::Arc;

use axum::{
    Extension, Router,
    extract::{Request, State},
    handler::Handler,
    http::{StatusCode, header},
    middleware,
    response::{IntoResponse, Response},
    routing::{any, head, post},
};

pub(crate) use protocol::{Discovery, conform};

use crate::{
    http::{PublicUrl, no_such_method, overloaded},
    service::Service,
};

/// The address of creation.
const UPLOADS: &str = "/uploads/tus";
/// The address of an upload.
const UPLOAD: &str = "/uploads/tus/{id}";

/// All tus routes. They need the layer [`conform`], outside of CORS.
pub(crate) fn router(service: Arc<Service>, public_url: PublicUrl) -> Router {
    let uploads = post(post_uploads).options(describe);
    let upload = head(upload::status)
        .get(upload::download)
        .patch(upload::append)
        .delete(upload::terminate)
        .post(post_upload)
        .options(describe);
    Router::new()
        .route(UPLOADS, uploads)
        .route(UPLOAD, upload)
        .method_not_allowed_fallback(no_such_method)
        .layer(middleware::from_fn(fields::refuse_doubled))
        .layer(Extension(public_url))
        .with_state(service)
}

/// The tus routes while there are too many connections. They need the same layer.
pub(crate) fn overloaded_router() -> Router {
    let refuse = any(overloaded).options(describe);
    Router::new().route(UPLOADS, refuse.clone()).route(UPLOAD, refuse)
}

/// `POST /uploads/tus`.
async fn post_uploads(State(service): State<Arc<Service>>, request: Request) -> Response {
    match protocol::method(&request).as_str() {
        "POST" => create::create.call(request, service).await,
        _ => ([(header::ALLOW, "POST,OPTIONS")], no_such_method().await).into_response(),
    }
}

/// `POST /uploads/tus/{id}`, which must name another method.
async fn post_upload(State(service): State<Arc<Service>>, request: Request) -> Response {
    match protocol::method(&request).as_str() {
        "PATCH" => upload::append.call(request, service).await,
        "DELETE" => upload::terminate.call(request, service).await,
        "HEAD" => upload::status.call(request, service).await,
        _ => ([(header::ALLOW, "HEAD,GET,PATCH,DELETE,OPTIONS")], no_such_method().await).into_response(),
    }
}

/// `OPTIONS`. The layer [`conform`] adds the headers.
async fn describe() -> StatusCode {
    StatusCode::NO_CONTENT
}

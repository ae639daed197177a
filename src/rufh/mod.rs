//! The edge for [resumable uploads of the IETF](https://datatracker.ietf.org/doc/draft-ietf-httpbis-resumable-upload/), and
//! for a whole file in one request.
//!
//! Owns the routes, and how the protocol's headers are read and written. A handler reads the headers, calls use cases and
//! writes the answer. Does not own what the use case does: that is `service`. The id of an upload is the id of its session, so
//! every protocol sees the same upload.

mod answer;
mod call;
mod disposition;
mod fields;
mod progress;
mod target;
mod upload;
mod version;

use std::sync::Arc;

use axum::{
    Extension, Router,
    extract::{Request, State},
    http::{Method, StatusCode},
    middleware::Next,
    response::Response,
    routing::get,
};
use utoipa_axum::{
    router::{OpenApiRouter, UtoipaMethodRouterExt},
    routes,
};

use crate::{
    error::Code,
    http::{
        PublicUrl, no_such_method,
        openapi::{Description, Errors},
    },
    service::Service,
};

/// The errors of a whole file in one request.
const ERRORS: Errors = &[(
    "storeFile",
    &[
        Code::TooLarge,
        Code::QuotaExceeded,
        Code::IdempotencyKeyReused,
        Code::LengthRequired,
        Code::ChecksumMismatch,
        Code::PartConflict,
        Code::OffsetMismatch,
        Code::SessionClosed,
        Code::Superseded,
        Code::Busy,
        Code::RateLimited,
    ],
)];

/// All routes of the protocol. They need the layer [`advertise`], outside of CORS.
pub(crate) fn router(service: Arc<Service>, public_url: PublicUrl) -> Router {
    let upload = get(upload::status).patch(upload::append).delete(upload::cancel).options(describe);
    Router::new()
        .route("/uploads/resumable/{id}", upload)
        .method_not_allowed_fallback(no_such_method)
        // REST has this path too, with other methods and with the answer to unknown ones.
        .merge(files().split_for_parts().0)
        .layer(Extension(public_url))
        .with_state(service)
}

/// The target of uploads, with its description.
fn files() -> OpenApiRouter<Arc<Service>> {
    OpenApiRouter::default().routes(routes!(target::receive).map(|files| files.options(describe)))
}

/// The description of a whole file in one request. OpenAPI cannot express the rest of the protocol.
pub(crate) fn openapi() -> Description {
    Description { document: files().into_openapi(), errors: ERRORS }
}

/// `OPTIONS`. The layer [`advertise`] adds the headers.
async fn describe() -> StatusCode {
    StatusCode::NO_CONTENT
}

/// The layer that tells the limits of every upload in the answer to `OPTIONS`. It is outside of the CORS layer, which answers
/// every `OPTIONS` itself.
pub(crate) async fn advertise(State(service): State<Arc<Service>>, request: Request, next: Next) -> Response {
    let is_options = request.method() == Method::OPTIONS;
    let mut response = next.run(request).await;
    if is_options && response.status().is_success() {
        *response.status_mut() = StatusCode::NO_CONTENT;
        response.headers_mut().extend([fields::limit(&call::limits_of_all(&service))]);
    }
    response
}

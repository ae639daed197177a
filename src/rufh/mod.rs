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
    routing::{get, post},
};

use crate::{
    http::{PublicUrl, no_such_method},
    service::Service,
};

/// All routes of the protocol. They need the layer [`advertise`], outside of CORS.
pub(crate) fn router(service: Arc<Service>, public_url: PublicUrl) -> Router {
    let upload = get(upload::status).patch(upload::append).delete(upload::cancel).options(describe);
    Router::new()
        .route("/uploads/resumable/{id}", upload)
        .method_not_allowed_fallback(no_such_method)
        // REST has this path too, with other methods and with the answer to unknown ones.
        .route("/files", post(target::receive).options(describe))
        .layer(Extension(public_url))
        .with_state(service)
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

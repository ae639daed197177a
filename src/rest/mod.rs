//! The REST edge.
//!
//! Owns routes, JSON bodies and HTTP's own rules (ranges, conditional requests). A handler takes the
//! arguments, calls one use case and shapes the answer; what the answer means is the service's.

mod bodies;
mod extract;
mod files;
mod health;
mod linger;
mod parts;
mod public_url;
mod representation;
mod sessions;

use std::sync::Arc;

use axum::{
    Extension, Router,
    routing::{get, post, put},
};

pub use linger::linger;
pub use public_url::PublicUrl;

use crate::{
    error::Error,
    http::{Problem, Readiness},
    service::Service,
};

/// Largest JSON body.
const MAX_JSON_BYTES: usize = 64 * 1024;

/// All REST routes.
pub fn router(service: Arc<Service>, readiness: Readiness, public_url: PublicUrl) -> Router {
    Router::new()
        .route("/uploads/sessions", post(sessions::create).get(sessions::list))
        .route("/uploads/sessions/{id}", get(sessions::status).delete(sessions::abort))
        .route("/uploads/sessions/{id}/finalize", post(sessions::finalize))
        .route("/uploads/sessions/{id}/parts", get(parts::list))
        .route("/uploads/sessions/{id}/parts/{number}", put(parts::receive).get(parts::show))
        .route("/files/{id}", get(files::show))
        .route("/files/{id}/content", get(files::content))
        .layer(Extension(public_url))
        .with_state(Arc::clone(&service))
        .merge(health::router(service, readiness))
}

/// The answer to a path that is nobody's.
pub async fn no_such_route() -> Problem {
    Problem(Error::not_found("route"))
}

/// The answer when there are too many connections.
pub async fn overloaded() -> Problem {
    Problem(Error::too_many_connections())
}

/// The answer to a method that a path does not take; axum adds `Allow`.
pub async fn no_such_method() -> impl axum::response::IntoResponse {
    (axum::http::StatusCode::METHOD_NOT_ALLOWED, Problem(Error::malformed("this route does not take this method")))
}

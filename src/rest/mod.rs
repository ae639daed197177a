//! The REST edge.
//!
//! Owns the routes, the JSON bodies, and byte ranges of a file. A handler parses the request, calls one use case and writes
//! the answer. Does not own what the use case does: that is `service`.

mod account;
mod bodies;
mod events;
mod extract;
mod files;
mod health;
mod limits;
mod links;
mod paging;
mod parts;
mod representation;
mod sessions;
mod tokens;
mod watch;

use std::sync::Arc;

use axum::{
    Extension, Router,
    http::{HeaderName, header},
    routing::{get, post, put},
};

use crate::{
    http::{PublicUrl, Shutdown},
    service::Service,
};

/// Largest JSON body in bytes.
const MAX_JSON_BYTES: usize = 64 * 1024;
/// The header of an answer that no cache may keep.
const NO_STORE: [(HeaderName, &str); 1] = [(header::CACHE_CONTROL, "no-store")];

/// All REST routes.
pub(crate) fn router(service: Arc<Service>, shutdown: Shutdown, public_url: PublicUrl) -> Router {
    Router::new()
        .route("/uploads/limits", get(limits::show))
        .route("/uploads/events", get(watch::stream_all))
        .route("/uploads/sessions", post(sessions::create).get(sessions::list))
        .route("/uploads/sessions/{id}", get(sessions::status).delete(sessions::abort))
        .route("/uploads/sessions/{id}/events", get(watch::stream))
        .route("/uploads/sessions/{id}/finalize", post(sessions::finalize))
        .route("/uploads/sessions/{id}/tokens", post(tokens::create))
        .route("/uploads/sessions/{id}/parts", get(parts::list).put(parts::receive))
        .route("/uploads/sessions/{id}/parts/{number}", put(parts::receive).get(parts::show))
        .route("/files", get(files::list))
        .route("/files/{id}", get(files::show).delete(files::delete))
        .route("/files/{id}/content", get(files::content))
        .route("/files/{id}/links", post(links::create))
        .route("/events", get(events::list))
        .route("/me", get(account::show))
        .layer(Extension(public_url))
        .layer(Extension(shutdown.clone()))
        .with_state(Arc::clone(&service))
        .merge(health::router(service, shutdown))
}

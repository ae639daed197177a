//! The REST edge.
//!
//! Owns the routes, the JSON bodies, and byte ranges of a file. A handler parses the request, calls one use case and writes
//! the answer. Does not own what the use case does: that is `service`.

mod account;
mod bodies;
mod content;
mod document;
mod errors;
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
};
use utoipa_axum::{router::OpenApiRouter, routes};

pub(crate) use document::Document;

use crate::{
    http::{PublicUrl, Shutdown, openapi::Description},
    service::Service,
};

/// Largest JSON body in bytes.
const MAX_JSON_BYTES: usize = 64 * 1024;
/// The header of an answer that no cache may keep.
const NO_STORE: [(HeaderName, &str); 1] = [(header::CACHE_CONTROL, "no-store")];

/// Every route, each with its description in OpenAPI.
fn routes() -> OpenApiRouter<Arc<Service>> {
    OpenApiRouter::default()
        .routes(routes!(limits::show))
        .routes(routes!(watch::stream_all))
        .routes(routes!(sessions::create, sessions::list))
        .routes(routes!(sessions::status, sessions::abort))
        .routes(routes!(watch::stream_one))
        .routes(routes!(sessions::finalize))
        .routes(routes!(tokens::create))
        .routes(routes!(parts::list, parts::receive_by_header))
        .routes(routes!(parts::receive, parts::show))
        .routes(routes!(files::list))
        .routes(routes!(files::show, files::delete))
        .routes(routes!(files::compute_sha256))
        .routes(routes!(content::show))
        .routes(routes!(links::create))
        .routes(routes!(events::list))
        .routes(routes!(account::show))
        .routes(routes!(health::alive))
        .routes(routes!(health::ready))
        .routes(routes!(health::metrics))
        .routes(routes!(document::show))
}

/// All REST routes. `document` describes them, and those of other edges.
pub(crate) fn router(service: Arc<Service>, shutdown: Shutdown, public_url: PublicUrl, document: Document) -> Router {
    let (router, _) = routes().split_for_parts();
    router.layer(Extension(public_url)).layer(Extension(shutdown)).layer(Extension(document)).with_state(service)
}

/// The description of all REST routes.
pub(crate) fn openapi() -> Description {
    Description { document: routes().into_openapi(), errors: errors::ERRORS }
}

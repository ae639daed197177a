//! `/health`, `/ready` and `/metrics`, for operators' tools.
//!
//! These routes need no token, so they show no data of any owner.

use std::sync::Arc;

use axum::{
    Json, Router,
    extract::State,
    http::{HeaderMap, header},
    response::IntoResponse,
    routing::get,
};
use serde_json::{Value, json};

use crate::{
    error::Error,
    http::{Problem, Shutdown},
    service::Service,
};

pub(super) fn router(service: Arc<Service>, shutdown: Shutdown) -> Router {
    Router::new()
        .route("/health", get(alive))
        .route("/ready", get(ready))
        .route("/metrics", get(metrics))
        .with_state((service, shutdown))
}

type Health = State<(Arc<Service>, Shutdown)>;

async fn alive() -> Json<Value> {
    Json(json!({ "status": "ok" }))
}

async fn ready(State((service, shutdown)): Health) -> Result<Json<Value>, Problem> {
    if shutdown.probe() {
        return Err(Error::stopping().into());
    }
    service.ready().await?;
    Ok(Json(json!({ "status": "ready" })))
}

/// The metrics, with the media type that the client accepts. Scrapers accept OpenMetrics; a browser would save that as a file,
/// so it gets the same text as plain text.
async fn metrics(State((service, _)): Health, headers: HeaderMap) -> impl IntoResponse {
    let mut accepted = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
    let media_type = match accepted.any(|accept| accept.contains("application/openmetrics-text")) {
        true => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        false => "text/plain; version=0.0.4; charset=utf-8",
    };
    ([(header::CONTENT_TYPE, media_type), (header::VARY, "accept")], service.metrics().render())
}

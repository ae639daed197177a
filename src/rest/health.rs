//! What operators' tools ask: alive, ready, how busy. These routes need no token and show nothing of any owner.

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

/// The same text under the type that the caller knows: scrapers ask for OpenMetrics, which a browser would save as a file.
async fn metrics(State((service, _)): Health, headers: HeaderMap) -> impl IntoResponse {
    let mut accepted = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
    let text = match accepted.any(|accept| accept.contains("application/openmetrics-text")) {
        true => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        false => "text/plain; version=0.0.4; charset=utf-8",
    };
    ([(header::CONTENT_TYPE, text), (header::VARY, "accept")], service.metrics().render())
}

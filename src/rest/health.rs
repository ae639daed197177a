//! `/health`, `/ready` and `/metrics`, for operators' tools.
//!
//! These routes need no token, so they show no data of any owner.

use std::sync::Arc;

use axum::{
    Extension, Json,
    extract::State,
    http::{HeaderMap, header},
    response::IntoResponse,
};

use super::bodies::HealthBody;
use crate::{
    error::Error,
    http::{Problem, Shutdown},
    service::Service,
};

/// Check that the process runs
///
/// Does not use the database and the storage.
#[utoipa::path(
    get, path = "/health", operation_id = "getHealth", tag = "server",
    responses((status = 200, description = "The process runs.", body = HealthBody)),
    security(()),
)]
pub(super) async fn alive() -> Json<HealthBody> {
    Json(HealthBody { status: "ok" })
}

/// Check that the server can accept requests
///
/// The database and the storage are reachable, and the server is not stopping.
#[utoipa::path(
    get, path = "/ready", operation_id = "getReadiness", tag = "server",
    responses((status = 200, description = "The server can accept requests.", body = HealthBody)),
    security(()),
)]
pub(super) async fn ready(
    State(service): State<Arc<Service>>,
    Extension(shutdown): Extension<Shutdown>,
) -> Result<Json<HealthBody>, Problem> {
    if shutdown.probe() {
        return Err(Error::stopping().into());
    }
    service.ready().await?;
    Ok(Json(HealthBody { status: "ready" }))
}

/// Show the metrics
///
/// For Prometheus. Scrapers accept OpenMetrics. A browser would save that as a file, so it gets the same text as plain text.
#[utoipa::path(
    get, path = "/metrics", operation_id = "getMetrics", tag = "server",
    responses((status = 200, description = "The metrics.", content(
        (String = "text/plain; version=0.0.4; charset=utf-8"),
        (String = "application/openmetrics-text; version=1.0.0; charset=utf-8"),
    ))),
    security(()),
)]
pub(super) async fn metrics(State(service): State<Arc<Service>>, headers: HeaderMap) -> impl IntoResponse {
    let mut accepted = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
    let media_type = match accepted.any(|accept| accept.contains("application/openmetrics-text")) {
        true => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        false => "text/plain; version=0.0.4; charset=utf-8",
    };
    ([(header::CONTENT_TYPE, media_type), (header::VARY, "accept")], service.metrics_text())
}

//! `/uploads/limits`.

use std::sync::Arc;

use axum::{Json, extract::State};

use super::bodies::LimitsBody;
use crate::{http::Caller, service::Service};

/// Show the limits of every upload
///
/// A client needs them only if it divides a file before it creates the session.
#[utoipa::path(
    get, path = "/uploads/limits", operation_id = "getLimits", tag = "sessions",
    responses((status = 200, description = "The limits.", body = LimitsBody)),
)]
pub(super) async fn show(State(service): State<Arc<Service>>, Caller(_): Caller) -> Json<LimitsBody> {
    Json(service.limits().into())
}

//! `/uploads/limits`.

use std::sync::Arc;

use axum::{Json, extract::State};

use super::bodies::LimitsBody;
use crate::{http::Caller, service::Service};

pub(super) async fn show(State(service): State<Arc<Service>>, Caller(_): Caller) -> Json<LimitsBody> {
    Json(service.limits().into())
}

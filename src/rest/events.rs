//! `/events`: what happened to uploads and files.

use std::sync::Arc;

use axum::{
    Json,
    extract::State,
    response::{IntoResponse, Response},
};

use super::{
    NO_STORE,
    bodies::{EventsBody, EventsParams},
    extract::Query,
};
use crate::{
    error::Error,
    http::{Caller, Problem},
    service::Service,
};

/// Events on a page without `limit`.
const DEFAULT_LIMIT: u64 = 100;

pub(super) async fn list(
    State(service): State<Arc<Service>>,
    Caller(principal): Caller,
    Query(params): Query<EventsParams>,
) -> Result<Response, Problem> {
    let limit = params.limit.unwrap_or(DEFAULT_LIMIT);
    if limit == 0 {
        return Err(Error::invalid("limit", "must be at least 1").into());
    }
    let page = service.events(&principal, params.after.as_deref(), limit).await?;
    Ok((NO_STORE, Json(EventsBody::from(page))).into_response())
}

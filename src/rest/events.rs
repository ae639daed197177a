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

/// List events
///
/// Each end of a session, and each deletion of a file, oldest first. A reader that continues from `next` gets each event once.
#[utoipa::path(
    get, path = "/events", operation_id = "listEvents", tag = "account",
    params(EventsParams),
    responses((status = 200, description = "A page of events.", body = EventsBody, headers(("Cache-Control")))),
)]
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

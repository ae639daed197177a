//! `/uploads/sessions`, `/uploads/sessions/{id}` and `/uploads/sessions/{id}/finalize`.

use std::sync::Arc;

use axum::{
    Extension, Json,
    extract::State,
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
};

use super::{
    bodies::{CreateBody, FinalizeBody, ListBody, ListParams, SessionBody, parse_status, session_json},
    extract::{JsonBody, OptionalJsonBody, Query},
    paging::page,
    representation::{self, Encoded},
    watch::Wait,
};
use crate::{
    domain::{Session, Upload, UploadQuery},
    error::Result,
    http::{Caller, Preconditions, Problem, PublicUrl, SessionPath, Shutdown, UploadCaller, idempotency_key, openapi},
    service::{DigestFields, Service},
};

/// Create a session
///
/// Begins the upload of one file. Repeated with the same idempotency key and the same input, it returns the same session. A file of 0
/// bytes has no parts.
#[utoipa::path(
    post, path = "/uploads/sessions", operation_id = "createSession", tag = "sessions",
    params(openapi::IdempotencyKey, openapi::ContentDigest),
    request_body = CreateBody,
    responses(
        (status = 201, description = "The new session.", body = SessionBody,
            headers(("Location"), ("ETag"), ("Last-Modified"), ("Cache-Control"))),
        (status = 200, description = "The session that an earlier request with this key created.", body = SessionBody,
            headers(("Location"), ("ETag"), ("Last-Modified"), ("Cache-Control"))),
    ),
)]
pub(super) async fn create(
    State(service): State<Arc<Service>>,
    Extension(public_url): Extension<PublicUrl>,
    Caller(principal): Caller,
    headers: HeaderMap,
    JsonBody(body): JsonBody<CreateBody>,
) -> Result<Response, Problem> {
    let input = body.with_header_key(idempotency_key(&headers)?)?;
    let creation = service.create(&principal, input).await?;
    let status = if creation.is_new { StatusCode::CREATED } else { StatusCode::OK };
    let location = public_url.of(&format!("/uploads/sessions/{}", creation.upload.session.id));
    Ok((status, [(header::LOCATION, location)], session(creation.upload)).into_response())
}

/// Show a session
///
/// The state of an upload, with the parts that have arrived and those that are missing, as ranges. With `If-None-Match` and
/// `Prefer: wait=N`, the server waits for another state.
#[utoipa::path(
    get, path = "/uploads/sessions/{id}", operation_id = "getSession", tag = "sessions",
    params(SessionPath, openapi::ReadConditions, openapi::Wait),
    responses(
        (status = 200, description = "The session.", body = SessionBody,
            headers(("ETag"), ("Last-Modified"), ("Cache-Control"), ("Preference-Applied"))),
        (status = 304, description = "You have this state.",
            headers(("ETag"), ("Cache-Control"), ("Preference-Applied"))),
    ),
    security(("bearer" = []), ("upload_token" = [])),
)]
pub(super) async fn status(
    State(service): State<Arc<Service>>,
    UploadCaller { principal, token }: UploadCaller,
    SessionPath(id): SessionPath,
    Extension(shutdown): Extension<Shutdown>,
    headers: HeaderMap,
    conditions: Preconditions,
) -> Result<Response, Problem> {
    let wait = Wait::read(&headers).filter(|_| conditions.need_only_the_tag());
    if conditions.need_only_the_tag() {
        let version = service.version(&principal, id).await?;
        let unchanged = representation::unchanged(&conditions, version);
        match (unchanged, wait) {
            (Some(_), Some(wait)) => wait.for_change(&service, (&principal, token), id, version, &shutdown).await?,
            (Some(not_modified), None) => return Ok(not_modified),
            (None, _) => {}
        }
    }
    let state = service.state(&principal, id).await?;
    let current = representation::of_session(&state.session);
    let answer = representation::answer(&conditions, &current, Encoded(session_json(&state)))?;
    Ok((wait.map(Wait::applied).into_iter().collect::<HeaderMap>(), answer).into_response())
}

/// List sessions
///
/// Your sessions, newest first. The filters can be combined.
#[utoipa::path(
    get, path = "/uploads/sessions", operation_id = "listSessions", tag = "sessions",
    params(ListParams),
    responses((status = 200, description = "A page of sessions.", body = ListBody)),
)]
pub(super) async fn list(
    State(service): State<Arc<Service>>,
    Caller(principal): Caller,
    Query(params): Query<ListParams>,
) -> Result<Json<ListBody>, Problem> {
    let query = UploadQuery {
        status: parse_status(params.status.as_deref())?,
        open: params.open,
        original_filename: params.original_filename,
        total_size_bytes: params.total_size_bytes,
        ..page(params.limit, params.after.as_deref())?
    };
    let page = service.list(&principal, query).await?;
    Ok(Json(ListBody::page(page.uploads, page.has_more)))
}

/// Finalize a session
///
/// Stores the file, once all parts have arrived. Repeated, it returns the same complete session.
#[utoipa::path(
    post, path = "/uploads/sessions/{id}/finalize", operation_id = "finalizeSession", tag = "sessions",
    params(SessionPath, openapi::ChangeConditions, openapi::ContentDigest),
    request_body = Option<FinalizeBody>,
    responses(
        (status = 200, description = "The complete session.", body = SessionBody,
            headers(("ETag"), ("Last-Modified"), ("Cache-Control"))),
    ),
)]
pub(super) async fn finalize(
    State(service): State<Arc<Service>>,
    Caller(principal): Caller,
    SessionPath(id): SessionPath,
    conditions: Preconditions,
    OptionalJsonBody(body): OptionalJsonBody<FinalizeBody>,
) -> Result<Response, Problem> {
    let expected = DigestFields {
        sha256: body.sha256.as_deref(),
        crc64nvme: body.crc64nvme.as_deref(),
        composite_sha256: body.composite_sha256.as_deref(),
    };
    Ok(session(service.finalize(&principal, id, expected, state_check(conditions)).await?).into_response())
}

/// Abort a session
///
/// Ends the upload, and frees its bytes. To delete the file of a complete session, use `deleteFile`.
#[utoipa::path(
    delete, path = "/uploads/sessions/{id}", operation_id = "abortSession", tag = "sessions",
    params(SessionPath, openapi::ChangeConditions),
    responses((status = 204, description = "The session is aborted.")),
)]
pub(super) async fn abort(
    State(service): State<Arc<Service>>,
    Caller(principal): Caller,
    SessionPath(id): SessionPath,
    conditions: Preconditions,
) -> Result<StatusCode, Problem> {
    service.abort(&principal, id, state_check(conditions)).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// A check of the conditions, which the service runs on the session's state inside its transaction.
fn state_check(conditions: Preconditions) -> impl Fn(&Session) -> bool + Send + Sync + 'static {
    move |session| conditions.is_empty() || conditions.permit(Some(&representation::of_session(session)))
}

/// A session's body and its validators.
fn session(upload: Upload) -> impl IntoResponse {
    (representation::headers(&representation::of_session(&upload.session)), Json(SessionBody::from(upload)))
}

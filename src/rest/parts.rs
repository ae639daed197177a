//! `/uploads/sessions/{id}/parts` and `/uploads/sessions/{id}/parts/{number}`.
//!
//! Owns the conditions and the headers of a `PUT` of a part.

use std::sync::Arc;

use axum::{
    Json,
    body::Body,
    extract::State,
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
};

use super::{
    bodies::{PartBody, PartsBody, PartsParams, ReceiptBody},
    extract::{PartPath, Query},
    representation,
};
use crate::{
    domain::PartRecord,
    error::{Error, Result},
    http::{Caller, CheckedBody, Preconditions, Problem, SessionPath, openapi, refuse_partial},
    service::{Disposition, IncomingPart, Service},
};

/// Parts on a page without `limit`.
const DEFAULT_LIMIT: u64 = 100;

/// What precedes the bytes of a part.
type Head = (State<Arc<Service>>, Caller, SessionPath, PartPath, Preconditions, HeaderMap);

/// Send a part
///
/// The body is the bytes of the part, without an encoding. Repeated with the same bytes, it changes nothing. The server answers after the
/// bytes are durable.
#[utoipa::path(
    put, path = "/uploads/sessions/{id}/parts/{number}", operation_id = "putPart", tag = "parts",
    params(SessionPath, PartPath, openapi::ContentDigest, openapi::ChangeConditions),
    request_body(content = inline(openapi::Binary), content_type = "application/octet-stream", description = "The bytes of the part."),
    responses(
        (status = 201, description = "The part has arrived.", body = ReceiptBody,
            headers(("ETag"), ("Last-Modified"), ("Cache-Control"))),
        (status = 200, description = "The part arrived before, with the same bytes.", body = ReceiptBody,
            headers(("ETag"), ("Last-Modified"), ("Cache-Control"))),
    ),
)]
pub(super) async fn receive(head: Head, body: Body) -> Result<Response, Problem> {
    let (State(service), Caller(principal), SessionPath(id), PartPath(number), conditions, headers) = head;
    refuse_partial(&headers, "the number of a part gives its position, so send the whole part")?;
    let (body, declared) = CheckedBody::new(&headers, body)?;
    if !conditions.is_empty() {
        let stored = service.find_part(&principal, id, number).await?;
        permit(&conditions, stored.as_ref())?;
    }
    let incoming =
        IncomingPart { number, declared_bytes: content_length(&headers)?, declared_sha256: declared.sha256, body };
    let receipt = service.receive(&principal, id, incoming).await?;
    let status = match receipt.disposition {
        Disposition::New => StatusCode::CREATED,
        Disposition::Replay => {
            // Another request may have stored the part after the check above. This request has changed nothing.
            permit(&conditions, Some(&receipt.part))?;
            StatusCode::OK
        }
    };
    let validators = representation::headers(&representation::of_part(&receipt.part));
    Ok((status, validators, Json(ReceiptBody::from(&receipt))).into_response())
}

/// Send a part, with its number in a header
///
/// The same as `putPart`. A browser asks for permission (preflight) once for each URL, so this saves a page of another origin one request
/// for each part.
#[utoipa::path(
    put, path = "/uploads/sessions/{id}/parts", operation_id = "putPartByHeader", tag = "parts",
    params(
        SessionPath, ("Part-Number" = u32, Header, description = "The number of the part, from 1.", minimum = 1),
        openapi::ContentDigest, openapi::ChangeConditions,
    ),
    request_body(content = inline(openapi::Binary), content_type = "application/octet-stream", description = "The bytes of the part."),
    responses(
        (status = 201, description = "The part has arrived.", body = ReceiptBody,
            headers(("ETag"), ("Last-Modified"), ("Cache-Control"))),
        (status = 200, description = "The part arrived before, with the same bytes.", body = ReceiptBody,
            headers(("ETag"), ("Last-Modified"), ("Cache-Control"))),
    ),
)]
pub(super) async fn receive_by_header(head: Head, body: Body) -> Result<Response, Problem> {
    receive(head, body).await
}

fn permit(conditions: &Preconditions, stored: Option<&PartRecord>) -> Result<()> {
    match conditions.permit(stored.map(representation::of_part).as_ref()) {
        true => Ok(()),
        false => Err(Error::precondition_failed()),
    }
}

fn content_length(headers: &HeaderMap) -> Result<Option<u64>> {
    let Some(value) = headers.get(header::CONTENT_LENGTH) else { return Ok(None) };
    let length = value.to_str().ok().and_then(|text| text.parse().ok());
    length.map(Some).ok_or_else(|| Error::invalid("content_length", "must be a number"))
}

/// Show a part
///
/// Its size, its digest, and when it arrived.
#[utoipa::path(
    get, path = "/uploads/sessions/{id}/parts/{number}", operation_id = "getPart", tag = "parts",
    params(SessionPath, PartPath, openapi::ReadConditions),
    responses(
        (status = 200, description = "The part.", body = PartBody,
            headers(("ETag"), ("Last-Modified"), ("Cache-Control"))),
        (status = 304, description = "You have this state.", headers(("ETag"), ("Cache-Control"))),
    ),
)]
pub(super) async fn show(
    State(service): State<Arc<Service>>,
    Caller(principal): Caller,
    SessionPath(id): SessionPath,
    PartPath(number): PartPath,
    conditions: Preconditions,
) -> Result<Response, Problem> {
    let part = service.part(&principal, id, number).await?;
    Ok(representation::answer(&conditions, &representation::of_part(&part), Json(PartBody::from(&part)))?)
}

/// List the parts of a session
///
/// The parts that have arrived, by number. To find out what is missing, ask for the session.
#[utoipa::path(
    get, path = "/uploads/sessions/{id}/parts", operation_id = "listParts", tag = "parts",
    params(SessionPath, PartsParams),
    responses((status = 200, description = "A page of parts.", body = PartsBody)),
)]
pub(super) async fn list(
    State(service): State<Arc<Service>>,
    Caller(principal): Caller,
    SessionPath(id): SessionPath,
    Query(params): Query<PartsParams>,
) -> Result<Json<PartsBody>, Problem> {
    let limit = params.limit.unwrap_or(DEFAULT_LIMIT);
    if limit == 0 {
        return Err(Error::invalid("limit", "must be at least 1").into());
    }
    let (parts, has_more) = service.parts(&principal, id, params.after, limit).await?;
    let next = parts.last().map(|last| last.part.number).filter(|_| has_more);
    Ok(Json(PartsBody { parts: parts.iter().map(Into::into).collect(), next }))
}

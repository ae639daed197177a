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
    http::{Caller, CheckedBody, Preconditions, Problem, SessionPath, refuse_partial},
    service::{Disposition, IncomingPart, Service},
};

/// Parts on a page without `limit`.
const DEFAULT_LIMIT: u64 = 100;

pub(super) async fn receive(
    State(service): State<Arc<Service>>,
    Caller(principal): Caller,
    SessionPath(id): SessionPath,
    PartPath(number): PartPath,
    conditions: Preconditions,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
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

pub(super) async fn show(
    State(service): State<Arc<Service>>,
    Caller(principal): Caller,
    SessionPath(id): SessionPath,
    PartPath(number): PartPath,
    conditions: Preconditions,
) -> Result<Response, Problem> {
    let part = service.part(&principal, id, number).await?;
    Ok(representation::answer(&conditions, &representation::of_part(&part), PartBody::from(&part))?)
}

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

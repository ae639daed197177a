//! `/uploads/sessions/{id}/parts` and the parts themselves: bytes in, receipts out.

use std::sync::Arc;

use axum::{
    Json,
    body::Body,
    extract::State,
    http::{HeaderMap, StatusCode, header},
};

use super::{
    Problem,
    bodies::{PartBody, PartsBody, PartsParams, ReceiptBody},
    digest,
    extract::{Caller, PartPath, Query, SessionPath},
};
use crate::{
    error::{Error, Result},
    service::{Disposition, IncomingPart, Service},
};

const DEFAULT_PAGE: u64 = 100;

pub(super) async fn receive(
    State(service): State<Arc<Service>>,
    Caller(principal): Caller,
    SessionPath(id): SessionPath,
    PartPath(number): PartPath,
    headers: HeaderMap,
    body: Body,
) -> Result<(StatusCode, Json<ReceiptBody>), Problem> {
    refuse_transformed(&headers)?;
    let incoming = IncomingPart {
        number,
        declared_bytes: content_length(&headers)?,
        declared_sha256: digest::declared(&headers)?,
        body: body.into_data_stream(),
    };
    let receipt = service.receive(&principal, id, incoming).await?;
    let status = match receipt.disposition {
        Disposition::New => StatusCode::CREATED,
        Disposition::Replay => StatusCode::OK,
    };
    Ok((status, Json((&receipt).into())))
}

fn content_length(headers: &HeaderMap) -> Result<Option<u64>> {
    let Some(value) = headers.get(header::CONTENT_LENGTH) else { return Ok(None) };
    let length = value.to_str().ok().and_then(|text| text.parse().ok());
    length.map(Some).ok_or_else(|| Error::invalid("content_length", "must be a number"))
}

/// A part's bytes are stored as they come; what asks for more than that must not be taken for it.
fn refuse_transformed(headers: &HeaderMap) -> Result<()> {
    let encoding = headers.get(header::CONTENT_ENCODING);
    if encoding.is_some_and(|encoding| !encoding.as_bytes().eq_ignore_ascii_case(b"identity")) {
        return Err(Error::invalid("content_encoding", "send the part's bytes as they are"));
    }
    if headers.contains_key(header::CONTENT_RANGE) {
        // RFC 9110 §14.5: a server that does not take partial PUTs must refuse them.
        return Err(Error::invalid("content_range", "send a whole part; its number says where it belongs"));
    }
    Ok(())
}

pub(super) async fn show(
    State(service): State<Arc<Service>>,
    Caller(principal): Caller,
    SessionPath(id): SessionPath,
    PartPath(number): PartPath,
) -> Result<Json<PartBody>, Problem> {
    Ok(Json((&service.part(&principal, id, number).await?).into()))
}

pub(super) async fn list(
    State(service): State<Arc<Service>>,
    Caller(principal): Caller,
    SessionPath(id): SessionPath,
    Query(params): Query<PartsParams>,
) -> Result<Json<PartsBody>, Problem> {
    let limit = params.limit.unwrap_or(DEFAULT_PAGE);
    if limit == 0 {
        return Err(Error::invalid("limit", "must be at least 1").into());
    }
    let (parts, has_more) = service.parts(&principal, id, params.after, limit).await?;
    let next = parts.last().map(|last| last.part.number).filter(|_| has_more);
    Ok(Json(PartsBody { parts: parts.iter().map(Into::into).collect(), next }))
}

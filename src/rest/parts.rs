//! `/uploads/sessions/{id}/parts` and the parts themselves: bytes in, receipts out.

use std::sync::Arc;

use axum::{
    Json,
    body::Body,
    extract::State,
    http::{HeaderMap, HeaderName, StatusCode, header},
    response::Response,
};

use super::{
    bodies::{PartBody, PartsBody, PartsParams, ReceiptBody},
    digest,
    extract::{Caller, PartPath, Query, SessionPath},
    representation,
};
use crate::{
    domain::PartRecord,
    error::{Error, Result},
    http::{Preconditions, Problem},
    service::{Disposition, IncomingPart, Service},
};

const DEFAULT_PAGE: u64 = 100;
const INSTEAD: &str = "send Content-Digest: sha-256=:BASE64: as a header instead";

pub(super) async fn receive(
    State(service): State<Arc<Service>>,
    Caller(principal): Caller,
    SessionPath(id): SessionPath,
    PartPath(number): PartPath,
    conditions: Preconditions,
    headers: HeaderMap,
    body: Body,
) -> Result<(StatusCode, Json<ReceiptBody>), Problem> {
    refuse_transformed(&headers)?;
    refuse_unchecked_digests(&headers)?;
    if !conditions.is_empty() {
        let there = service.find_part(&principal, id, number).await?;
        permit(&conditions, there.as_ref())?;
    }
    let incoming = IncomingPart {
        number,
        declared_bytes: content_length(&headers)?,
        declared_sha256: digest::declared(&headers)?,
        body: body.into_data_stream(),
    };
    let receipt = service.receive(&principal, id, incoming).await?;
    let status = match receipt.disposition {
        Disposition::New => StatusCode::CREATED,
        Disposition::Replay => {
            // Another request may have brought it since; this one has changed nothing.
            permit(&conditions, Some(&receipt.part))?;
            StatusCode::OK
        }
    };
    Ok((status, Json((&receipt).into())))
}

fn permit(conditions: &Preconditions, there: Option<&PartRecord>) -> Result<()> {
    match conditions.permit(there.map(representation::of_part).as_ref()) {
        true => Ok(()),
        false => Err(Error::precondition_failed()),
    }
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
    let mut codings = headers.get_all(header::TRANSFER_ENCODING).iter();
    if codings.any(|coding| !coding.as_bytes().trim_ascii().eq_ignore_ascii_case(b"chunked")) {
        // hyper looks at the last coding alone.
        return Err(Error::invalid("transfer_encoding", "send the part's bytes as they are, at most chunked"));
    }
    Ok(())
}

/// A digest that is not checked must not be taken: its sender would believe that it was.
fn refuse_unchecked_digests(headers: &HeaderMap) -> Result<()> {
    let trailers = headers.get_all(header::TRAILER).iter().filter_map(|value| value.to_str().ok());
    let trailers = trailers.flat_map(|value| value.split(',')).map(|name| name.trim().to_ascii_lowercase());
    if let Some(name) = trailers.into_iter().find(|name| claims_digest(name)) {
        return Err(Error::invalid("trailer", format!("{name} is not checked there; {INSTEAD}")));
    }
    let unchecked = |name: &&HeaderName| name.as_str() != digest::HEADER && claims_digest(name.as_str());
    if let Some(name) = headers.keys().find(unchecked) {
        return Err(Error::malformed(format!("{name} is not checked; {INSTEAD}")));
    }
    Ok(())
}

/// Fields of this kind are named after what they carry, whichever server they were made for.
fn claims_digest(name: &str) -> bool {
    let ends = ["digest", "md5", "sha1", "sha256", "sha512", "crc32", "crc32c", "crc64", "crc64nvme"];
    let is_one = name.contains("checksum") || name == "x-goog-hash" || name == "x-amz-trailer";
    !name.starts_with("want-") && (is_one || ends.iter().any(|end| name.ends_with(end)))
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
    let limit = params.limit.unwrap_or(DEFAULT_PAGE);
    if limit == 0 {
        return Err(Error::invalid("limit", "must be at least 1").into());
    }
    let (parts, has_more) = service.parts(&principal, id, params.after, limit).await?;
    let next = parts.last().map(|last| last.part.number).filter(|_| has_more);
    Ok(Json(PartsBody { parts: parts.iter().map(Into::into).collect(), next }))
}

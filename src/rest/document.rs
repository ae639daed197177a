//! `/openapi.json`: the description of the API. Does not own its content: that is `app/openapi`.

use axum::{
    Extension,
    body::Bytes,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};

use crate::{
    domain::Sha256Digest,
    http::{Preconditions, openapi},
};

/// A cache must validate the answer before each use.
const CACHE_CONTROL: &str = "no-cache";

/// The text of the document.
#[derive(Clone, Debug)]
pub(crate) struct Document {
    json: Bytes,
    sha256: Sha256Digest,
}

impl Document {
    pub(crate) fn new(json: String) -> Self {
        Self { sha256: Sha256Digest::of(json.as_bytes()), json: json.into() }
    }
}

/// Show this document
///
/// The description of the API in OpenAPI 3.1.
#[utoipa::path(
    get, path = "/openapi.json", operation_id = "getOpenApi", tag = "server",
    params(openapi::IfNoneMatch),
    responses(
        (status = 200, description = "This document.", body = HashMap<String, Value>, content_type = "application/json",
            headers(("ETag"), ("Cache-Control"))),
        (status = 304, description = "You have this document.", headers(("ETag"), ("Cache-Control"))),
    ),
    security(()),
)]
pub(super) async fn show(Extension(document): Extension<Document>, conditions: Preconditions) -> Response {
    let headers = |etag: String| [(header::ETAG, etag), (header::CACHE_CONTROL, CACHE_CONTROL.to_owned())];
    match conditions.if_none_match_lists(document.sha256) {
        Some(etag) => (StatusCode::NOT_MODIFIED, headers(etag)).into_response(),
        None => {
            let content_type = [(header::CONTENT_TYPE, "application/json")];
            (headers(format!("\"{}\"", document.sha256)), content_type, document.json).into_response()
        }
    }
}

//! Extractors for the arguments of handlers.
//!
//! Owns the parsing of path, query and JSON. Each rejection is a [`Problem`], so it has a code. Does not own the caller and
//! the session: those are in `http/extract.rs`.

use axum::{
    extract::{FromRequest, FromRequestParts, Request},
    http::request::Parts,
};
use serde::de::DeserializeOwned;
use utoipa::{
    IntoParams,
    openapi::path::{Parameter, ParameterIn},
};

use super::MAX_JSON_BYTES;
use crate::{
    domain::FileId,
    error::{Error, Result},
    http::{self, Problem, openapi, path_param},
};

/// `{id}` of a file.
pub(super) struct FilePath(pub(super) FileId);

impl<S: Send + Sync> FromRequestParts<S> for FilePath {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let id = path_param(parts, state, "id").await.parse();
        Ok(Self(id.map_err(|_| Error::not_found("file"))?))
    }
}

impl IntoParams for FilePath {
    fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        vec![openapi::id_in_path("The id of the file.")]
    }
}

/// The number of a part: `{number}` in the path, or the header `Part-Number` if the path has none. A browser asks for permission
/// (preflight) once per URL, so parts of a cross-origin upload that all go to one URL cost one request less each. Any number is
/// valid here: the service checks that the session has such a part.
pub(super) struct PartPath(pub(super) u32);

const PART_NUMBER: &str = "part-number";

impl<S: Send + Sync> FromRequestParts<S> for PartPath {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let in_path = path_param(parts, state, "number").await;
        let mut in_header = parts.headers.get_all(PART_NUMBER).iter();
        let text = match (in_path.as_str(), in_header.next()) {
            (_, Some(_)) if in_header.next().is_some() => return Err(Error::doubled("part_number").into()),
            ("", Some(number)) => number.to_str().unwrap_or_default(),
            (number, Some(other)) if other != number => {
                return Err(Error::invalid("part_number", "the path and the header must have the same number").into());
            }
            (number, _) => number,
        };
        let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        if !is_number {
            return Err(Error::invalid("part_number", "must be a number").into());
        }
        // A number above `u32::MAX` is out of range for every session.
        Ok(Self(text.parse().unwrap_or(u32::MAX)))
    }
}

impl IntoParams for PartPath {
    fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        vec![openapi::number_in_path("The number of the part, from 1.")]
    }
}

const WHAT: &str = "a JSON body";

/// A JSON body.
pub(super) struct JsonBody<T>(pub(super) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for JsonBody<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &S) -> Result<Self, Problem> {
        Ok(Self(http::parse_object(&http::read_json(request, WHAT, MAX_JSON_BYTES).await?)?))
    }
}

/// An optional JSON body.
pub(super) struct OptionalJsonBody<T>(pub(super) T);

impl<T: DeserializeOwned + Default, S: Send + Sync> FromRequest<S> for OptionalJsonBody<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &S) -> Result<Self, Problem> {
        let body = http::read_optional_json(request, WHAT, MAX_JSON_BYTES).await?;
        Ok(Self(if body.is_empty() { T::default() } else { http::parse_object(&body)? }))
    }
}

/// The query string.
pub(super) struct Query<T>(pub(super) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Query<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        match axum::extract::Query::from_request_parts(parts, state).await {
            Ok(axum::extract::Query(query)) => Ok(Self(query)),
            Err(problem) => Err(Error::malformed(problem.body_text()).into()),
        }
    }
}

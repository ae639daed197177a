//! The answers with an error.
//!
//! Owns which codes every operation can answer, because of what it has: a token, a JSON body, a change. The codes that are its own
//! are in a table of its edge. Statuses and meanings come from the table of codes.

use std::collections::BTreeMap;

use utoipa::{
    PartialSchema, ToSchema,
    openapi::{
        AllOfBuilder, Components, ContentBuilder, ObjectBuilder, Ref, RefOr, Response, ResponseBuilder, Schema, Type,
        path::Operation, security::SecurityRequirement,
    },
};

use super::{bodies, headers};
use crate::{error::Code, http::problem::ProblemBody};

/// The codes of each operation, by its id, beside those that the operation has because of its form.
pub(crate) type Errors = &'static [(&'static str, &'static [Code])];

/// The codes that every operation can answer.
const OF_ALL: &[Code] = &[Code::InvalidInput, Code::Unavailable, Code::Internal];
/// The codes of an operation with a token.
const OF_TOKEN: &[Code] = &[Code::Unauthenticated];
/// The codes of an operation that changes something.
const OF_CHANGE: &[Code] = &[Code::Forbidden];
/// The codes of an operation with a JSON body.
const OF_JSON: &[Code] = &[Code::UnsupportedMediaType, Code::TooLarge, Code::ChecksumMismatch];

/// Adds the answers with an error to an operation.
pub(super) fn add(operation: &mut Operation, changes: bool, errors: Errors, components: &mut Components) {
    let id = operation.operation_id.clone().unwrap_or_default();
    let own = errors.iter().find(|(operation, _)| *operation == id);
    let (_, own) = own.unwrap_or_else(|| panic!("the operation {id} has no line in the table of errors"));
    let has_json = bodies::json(operation).is_some();
    let needs_token = operation.security.as_ref().is_none_or(|ways| !ways.contains(&SecurityRequirement::default()));
    let possible = |code: &Code| {
        OF_ALL.contains(code)
            || own.contains(code)
            || (needs_token && OF_TOKEN.contains(code))
            || (changes && OF_CHANGE.contains(code))
            || (has_json && OF_JSON.contains(code))
    };
    let mut by_status = BTreeMap::<u16, Vec<Code>>::new();
    for code in Code::ALL.iter().copied().filter(possible) {
        by_status.entry(code.http_status()).or_default().push(code);
    }
    for (status, codes) in by_status {
        let name = codes.iter().map(|code| code.as_str()).collect::<Vec<_>>().join(".");
        operation.responses.responses.insert(status.to_string(), RefOr::Ref(Ref::from_response_name(&name)));
        components.responses.entry(name).or_insert_with(|| RefOr::T(response(&codes)));
    }
}

/// The answer with one of these codes, which have one status.
fn response(codes: &[Code]) -> Response {
    let description = match codes {
        [only] => only.meaning().to_owned(),
        several => several
            .iter()
            .map(|code| format!("- `{}`: {}", code.as_str(), code.meaning()))
            .collect::<Vec<_>>()
            .join("\n"),
    };
    let names =
        ObjectBuilder::new().schema_type(Type::String).enum_values(Some(codes.iter().map(|code| code.as_str())));
    let narrowed = AllOfBuilder::new()
        .item(Ref::from_schema_name(ProblemBody::name()))
        .item(ObjectBuilder::new().property("code", names).required("code"));
    let mut response = ResponseBuilder::new()
        .description(description)
        .content("application/problem+json", ContentBuilder::new().schema(Some(narrowed)).build())
        .build();
    let of_code = |code: &Code| match code {
        Code::Unauthenticated => Some("WWW-Authenticate"),
        Code::UnsupportedMediaType => Some("Accept"),
        Code::RangeNotSatisfiable => Some("Content-Range"),
        code => code.is_retryable().then_some("Retry-After"),
    };
    for name in codes.iter().filter_map(of_code).chain(["Cache-Control"]) {
        response.headers.insert(name.to_owned(), headers::reference(name));
    }
    response
}

/// The schemas of an error and of its code.
pub(super) fn schema() -> BTreeMap<String, RefOr<Schema>> {
    let mut schemas = vec![(ProblemBody::name().into_owned(), ProblemBody::schema())];
    ProblemBody::schemas(&mut schemas);
    schemas.into_iter().collect()
}

impl PartialSchema for Code {
    fn schema() -> RefOr<Schema> {
        let names = Self::ALL.iter().map(|code| code.as_str());
        let description = "A stable code. Codes are never renamed and never change their meaning.";
        ObjectBuilder::new().schema_type(Type::String).enum_values(Some(names)).description(Some(description)).into()
    }
}

impl ToSchema for Code {}

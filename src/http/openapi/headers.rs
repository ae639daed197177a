//! The headers of answers.
//!
//! Owns what each of them means. An operation names the headers of an answer; the descriptions are shared.

use std::collections::BTreeMap;

use utoipa::openapi::{HeaderBuilder, Ref, RefOr, header::Header, path::Operation};

use super::values;

/// Name and description.
const HEADERS: &[(&str, &str)] = &[
    ("Accept", "The media type that the route accepts."),
    ("Accept-Ranges", "`bytes`: the route accepts `Range`."),
    ("Cache-Control", "How long a cache may keep the answer."),
    ("Content-Disposition", "`attachment`, with the name of the file in both forms of RFC 6266."),
    ("Content-Range", "Which bytes of the file the body has (206), or the size of the file (416)."),
    ("ETag", "The strong entity tag of this state, for conditions."),
    ("Last-Modified", "When this state began, in whole seconds. Prefer the `ETag`."),
    (
        "Location",
        "The URL of the resource. A path, which the client resolves against its request, if the server has no `public_url`.",
    ),
    ("Preference-Applied", "`wait=N`: how many seconds the server was ready to wait."),
    ("Repr-Digest", "The SHA-256 of the file, if the request has `Want-Repr-Digest`."),
    ("Retry-After", "In how many seconds to try again. Only with the codes for which `retryable` is true."),
    ("WWW-Authenticate", "The scheme of the token: `Bearer`."),
];

/// All descriptions.
pub(super) fn components() -> BTreeMap<String, RefOr<Header>> {
    HEADERS.iter().map(|(name, description)| ((*name).to_owned(), RefOr::T(header(name, description)))).collect()
}

fn header(name: &str, description: &str) -> Header {
    let schema = match name {
        "Retry-After" => values::integer(1),
        _ => values::text(),
    };
    HeaderBuilder::new().description(Some(description)).schema(Some(schema)).build()
}

/// The reference to a description.
///
/// # Panics
/// If there is none.
pub(super) fn reference(name: &str) -> RefOr<Header> {
    assert!(HEADERS.iter().any(|(known, _)| *known == name), "the header {name} has no description");
    RefOr::Ref(Ref::new(format!("#/components/headers/{name}")))
}

/// Replaces the headers of an operation's answers by references to their descriptions.
pub(super) fn refer(operation: &mut Operation) {
    for response in operation.responses.responses.values_mut() {
        let RefOr::T(response) = response else { continue };
        for (name, header) in &mut response.headers {
            *header = reference(name);
        }
    }
}

//! The headers of requests, and the id of a session in a path.
//!
//! A header that the server ignores if it is malformed has no pattern.

use utoipa::{
    IntoParams,
    openapi::{
        KnownFormat, ObjectBuilder, Required, SchemaFormat,
        path::{Parameter, ParameterBuilder, ParameterIn},
    },
};

use super::values::{integer, text};
use crate::http::SessionPath;

/// `*`, or entity tags.
const TAGS: &str = r#"^(\*|(W/)?"[!#-~]*"(, ?(W/)?"[!#-~]*")*)$"#;
const DATE: &str = "^(Mon|Tue|Wed|Thu|Fri|Sat|Sun), (0[1-9]|[12][0-9]|3[01]) (Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec) \
                    (19[7-9][0-9]|20[0-9]{2}) ([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9] GMT$";
/// SHA-256, SHA-512, or both.
const DIGEST: &str = "^sha-256=:[0-9A-Za-z+/]{43}=:$|^sha-512=:[0-9A-Za-z+/]{86}==:$|\
                      ^sha-256=:[0-9A-Za-z+/]{43}=:, sha-512=:[0-9A-Za-z+/]{86}==:$";
const REPR_DIGEST: &str = "^sha-256=:[0-9A-Za-z+/]{43}=:$";

/// An optional header of a request.
fn header(name: &str, description: &str, schema: ObjectBuilder) -> Parameter {
    parameter(ParameterIn::Header, name, description, schema).build()
}

fn parameter(place: ParameterIn, name: &str, description: &str, schema: ObjectBuilder) -> ParameterBuilder {
    ParameterBuilder::new()
        .name(name)
        .parameter_in(place)
        .required(Required::False)
        .description(Some(description))
        .schema(Some(schema))
}

/// An id in a path.
pub(crate) fn id_in_path(description: &str) -> Parameter {
    let id = text().format(Some(SchemaFormat::KnownFormat(KnownFormat::Uuid)));
    parameter(ParameterIn::Path, "id", description, id).required(Required::True).build()
}

/// The number of a part in a path.
pub(crate) fn number_in_path(description: &str) -> Parameter {
    parameter(ParameterIn::Path, "number", description, integer(1)).required(Required::True).build()
}

impl IntoParams for SessionPath {
    fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        vec![id_in_path("The id of the session.")]
    }
}

macro_rules! headers {
    ($($(#[$doc:meta])+ $name:ident: $($header:expr),+;)+) => {$(
        $(#[$doc])+
        pub(crate) struct $name;

        impl IntoParams for $name {
            fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
                vec![$($header),+]
            }
        }
    )+};
}

headers! {
    /// The conditions of a read.
    ReadConditions:
        header("If-Match", "Answers 412 unless the state has one of these entity tags.", tags()),
        header("If-Unmodified-Since", "Answers 412 if the state has changed since this HTTP date.", text()),
        header("If-None-Match", "Answers 304 if the state has one of these entity tags.", text()),
        header("If-Modified-Since", "Answers 304 if the state has not changed since this HTTP date.", text());
    /// The conditions of a change.
    ChangeConditions:
        header("If-Match", "Changes nothing and answers 412 unless the state has one of these entity tags.", tags()),
        header(
            "If-Unmodified-Since",
            "Changes nothing and answers 412 if the state has changed since this HTTP date.",
            date()
        ),
        header(
            "If-None-Match",
            "Changes nothing and answers 412 if the state has one of these entity tags, or, for `*`, if there \
             is any.",
            tags()
        );
    /// The condition of a read without a date.
    IfNoneMatch:
        header("If-None-Match", "Answers 304 if the state has one of these entity tags.", text());
    /// The client's name for a request that it may repeat.
    IdempotencyKey:
        header(
            "Idempotency-Key",
            "Your own name for this request. A repeated request with the same key and the same input gets the \
             same answer. It never expires.",
            key()
        );
    /// The digests of a body.
    ContentDigest:
        header(
            "Content-Digest",
            "The SHA-256 or the SHA-512 of the body, or both (RFC 9530). The server refuses other bytes, and \
             other digest fields.",
            digest(DIGEST)
        );
    /// The digest of a whole file.
    ReprDigest:
        header(
            "Repr-Digest",
            "The SHA-256 of the file (RFC 9530). The server refuses other bytes.",
            digest(REPR_DIGEST)
        ),
        header("Want-Repr-Digest", "If present, the answer has `Repr-Digest`.", text());
    /// The wish for a part of a file.
    Ranges:
        header(
            "Range",
            "One range of bytes, such as `bytes=0-1023`. The server ignores several ranges, and a malformed \
             one.",
            text()
        ),
        header("If-Range", "An entity tag or a date. If the state is another one, the server ignores `Range`.", text());
    /// The wish to wait.
    Wait:
        header(
            "Prefer",
            "`wait=N` with `If-None-Match`: waits for another state for this many seconds, at most 60 (RFC \
             7240).",
            text()
        );
    /// The place in a stream.
    LastEventId:
        header(
            "Last-Event-ID",
            "The id of the last event that the client has. The server ignores an id that it has not sent.",
            text()
        );
    /// The name of a file.
    Disposition:
        header(
            "Content-Disposition",
            "The name of the file in `filename` or `filename*` (RFC 6266). Without it, the name is `unnamed`.",
            text()
        );
}

fn tags() -> ObjectBuilder {
    text().pattern(Some(TAGS)).examples(["\"98\""])
}

fn date() -> ObjectBuilder {
    text().pattern(Some(DATE)).examples(["Sun, 29 Nov 2026 12:00:00 GMT"])
}

fn digest(pattern: &str) -> ObjectBuilder {
    text().pattern(Some(pattern)).examples(["sha-256=:ungWv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD/YfIAFa0=:"])
}

fn key() -> ObjectBuilder {
    text().min_length(Some(1)).max_length(Some(255)).pattern(Some("^[!#-~]+$")).examples(["upload-17"])
}

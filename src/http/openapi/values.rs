//! The schemas of values that several bodies have.
//!
//! The names of a status come from the domain, which itself knows nothing of OpenAPI.

use std::borrow::Cow;

use utoipa::{
    PartialSchema, ToSchema,
    openapi::{KnownFormat, ObjectBuilder, RefOr, Schema, SchemaFormat, Type, schema::AdditionalProperties},
};

use crate::{
    domain::{Crc64Nvme, EventType, FileStatus, Metadata, PartRange, SessionStatus, Sha256Digest, StatusReason},
    service::MAX_FILENAME_BYTES,
};

/// A text.
pub(super) fn text() -> ObjectBuilder {
    ObjectBuilder::new().schema_type(Type::String)
}

/// An integer of at least `minimum`.
pub(super) fn integer(minimum: u64) -> ObjectBuilder {
    let format = SchemaFormat::KnownFormat(KnownFormat::Int64);
    ObjectBuilder::new().schema_type(Type::Integer).format(Some(format)).minimum(Some(minimum))
}

fn one_of<'a>(names: impl IntoIterator<Item = &'a str>, description: &str) -> RefOr<Schema> {
    text().enum_values(Some(names)).description(Some(description)).into()
}

impl PartialSchema for SessionStatus {
    fn schema() -> RefOr<Schema> {
        one_of(Self::ALL.map(Self::as_str), "The status of a session. `INIT` and `IN_PROGRESS` accept parts.")
    }
}

impl ToSchema for SessionStatus {}

impl PartialSchema for StatusReason {
    fn schema() -> RefOr<Schema> {
        one_of(Self::ALL.map(Self::as_str), "Why a session is `FAILED` or `ABORTED`.")
    }
}

impl ToSchema for StatusReason {}

impl PartialSchema for FileStatus {
    fn schema() -> RefOr<Schema> {
        one_of(Self::ALL.map(Self::as_str), "The status of a file. Only `STORED` has content.")
    }
}

impl ToSchema for FileStatus {}

impl PartialSchema for EventType {
    fn schema() -> RefOr<Schema> {
        one_of(Self::ALL.map(Self::as_str), "What happened. Ignore types that you do not know.")
    }
}

impl ToSchema for EventType {}

impl PartialSchema for Sha256Digest {
    fn schema() -> RefOr<Schema> {
        text().pattern(Some("^[0-9A-Fa-f]{64}$")).description(Some("A SHA-256 in hex.")).into()
    }
}

impl ToSchema for Sha256Digest {
    fn name() -> Cow<'static, str> {
        "Sha256".into()
    }
}

impl PartialSchema for Crc64Nvme {
    fn schema() -> RefOr<Schema> {
        let description = "A CRC-64/NVME as S3 writes it: the base64 of its 8 bytes, big-endian.";
        text().pattern(Some("^[A-Za-z0-9+/]{10}[AEIMQUYcgkosw048]=$")).description(Some(description)).into()
    }
}

impl ToSchema for Crc64Nvme {
    fn name() -> Cow<'static, str> {
        "Crc64Nvme".into()
    }
}

impl PartialSchema for PartRange {
    fn schema() -> RefOr<Schema> {
        let description = "The number of a part, or the first and the last number of a range.";
        text().pattern(Some("^[1-9][0-9]*(-[1-9][0-9]*)?$")).description(Some(description)).into()
    }
}

impl ToSchema for PartRange {}

/// The schema of bytes. Generators make no code for a body without a schema.
pub(crate) struct Binary;

impl PartialSchema for Binary {
    fn schema() -> RefOr<Schema> {
        text().format(Some(SchemaFormat::KnownFormat(KnownFormat::Binary))).into()
    }
}

impl ToSchema for Binary {}

/// The schema of the name of a file in a request. Not blank; no control characters.
pub(crate) struct Filename;

impl PartialSchema for Filename {
    fn schema() -> RefOr<Schema> {
        let description = "The name of a file on the client's side: at most 1,024 bytes, not blank, no control characters. The server \
                           never uses it as a path.";
        text()
            .min_length(Some(1))
            .max_length(Some(MAX_FILENAME_BYTES))
            .pattern(Some(
                r"^[^\u0000-\u001f\u007f-\u009f]*[^\u0000-\u0020\u007f-\u00a0][^\u0000-\u001f\u007f-\u009f]*$",
            ))
            .description(Some(description))
            .into()
    }
}

impl ToSchema for Filename {}

impl PartialSchema for Metadata {
    fn schema() -> RefOr<Schema> {
        let description = "What the client attached to the file: a JSON object of at most 16 KiB, 16 levels of objects and lists, \
                           1,000 keys in total, and 256 bytes per key.";
        ObjectBuilder::new()
            .schema_type(Type::Object)
            .additional_properties(Some(AdditionalProperties::FreeForm(true)))
            .max_properties(Some(Self::MAX_KEYS))
            .property_names(Some(text().max_length(Some(Self::MAX_KEY_BYTES)).build()))
            .description(Some(description))
            .into()
    }
}

impl ToSchema for Metadata {}

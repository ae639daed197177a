//! The JSON bodies of requests that create and finalize a session.

use chrono::DateTime;
use serde::Deserialize;
use serde_json::value::RawValue;
use utoipa::ToSchema;

use crate::{
    domain::{Crc64Nvme, Metadata, Sha256Digest, Timestamp},
    error::{Error, Result},
    http::openapi::Filename,
    service::CreateSession,
};

/// What a client says about a file before it sends the bytes.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = CreateSession)]
pub(in crate::rest) struct CreateBody {
    #[schema(value_type = Filename)]
    original_filename: String,
    /// Its media type, such as `video/mp4`. Empty is the same as none.
    #[schema(
        max_length = 255,
        pattern = r#"^([A-Za-z0-9][A-Za-z0-9!#$&^_.+-]*/[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]*(; ?[A-Za-z0-9-]+=([A-Za-z0-9_.+-]+|"[A-Za-z0-9 _.+-]*"))*)?$"#
    )]
    content_type: Option<String>,
    /// Its exact size. The server may have a lower limit, see `GET /uploads/limits`.
    #[schema(minimum = 0)]
    total_size_bytes: i64,
    /// The SHA-256 of the whole file. If the received bytes have another one, finalize ends the session as `FAILED`.
    #[schema(value_type = Option<Sha256Digest>)]
    sha256: Option<String>,
    /// The CRC-64/NVME of the whole file; the same applies.
    #[schema(value_type = Option<Crc64Nvme>)]
    crc64nvme: Option<String>,
    #[schema(value_type = Option<Metadata>)]
    metadata: Option<Box<RawValue>>,
    /// The same as the header `Idempotency-Key`.
    #[schema(min_length = 1, max_length = 255, pattern = "^[^\\u0000-\\u001f\\u007f-\\u009f]*$")]
    idempotency_key: Option<String>,
    /// Whether the server finalizes the session as soon as it has all bytes.
    #[serde(default)]
    #[schema(default = false)]
    auto_finalize: bool,
    /// When the server deletes the stored file; in the future.
    #[schema(format = DateTime)]
    retain_until: Option<String>,
}

impl CreateBody {
    /// The use case's input. The idempotency key comes from the body or from the header.
    pub(in crate::rest) fn with_header_key(self, header: Option<String>) -> Result<CreateSession> {
        let idempotency_key = match (self.idempotency_key, header) {
            (Some(field), Some(header)) if field != header => {
                return Err(Error::invalid("idempotency_key", "differs from the Idempotency-Key header"));
            }
            (field, header) => field.or(header),
        };
        Ok(CreateSession {
            original_filename: self.original_filename,
            content_type: self.content_type,
            total_size_bytes: self.total_size_bytes,
            sha256: self.sha256,
            crc64nvme: self.crc64nvme,
            metadata: self.metadata,
            idempotency_key,
            auto_finalize: self.auto_finalize,
            upload_metadata: None,
            retain_until: self.retain_until.as_deref().map(parse_retain_until).transpose()?,
        })
    }
}

/// What the client expects of the file.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = Finalize)]
pub(in crate::rest) struct FinalizeBody {
    /// The SHA-256 of the whole file.
    #[schema(value_type = Option<Sha256Digest>)]
    pub(in crate::rest) sha256: Option<String>,
    /// The CRC-64/NVME of the whole file.
    #[schema(value_type = Option<Crc64Nvme>)]
    pub(in crate::rest) crc64nvme: Option<String>,
    /// The SHA-256 over the SHA-256 digests of the parts of your file, 32 bytes each, in order.
    #[schema(value_type = Option<Sha256Digest>)]
    pub(in crate::rest) composite_sha256: Option<String>,
}

fn parse_retain_until(text: &str) -> Result<Timestamp> {
    let invalid = |_| Error::invalid("retain_until", "must be a time of RFC 3339, such as 2026-12-31T23:59:59Z");
    DateTime::parse_from_rfc3339(text).map(|time| time.to_utc()).map_err(invalid)
}

//! The JSON bodies of requests and answers.
//!
//! Owns their fields: names in snake_case, ids and digests as text, times in RFC 3339. Does not own those of a file: they are in
//! `http/file_body.rs`.

mod account;
mod events;
mod files;
mod token;

use std::sync::Arc;

use chrono::DateTime;
use serde::{Deserialize, Serialize, Serializer, ser::SerializeSeq};
use serde_json::value::RawValue;
use uuid::Uuid;

pub(super) use account::AccountBody;
pub(super) use events::{EventsBody, EventsParams};
pub(super) use files::{FilesBody, FilesParams, parse_file_status};
pub(super) use token::{ExpiresInBody, LinkBody, UploadTokenBody};

use crate::{
    domain::{PartRange, PartRecord, SessionStatus, Timestamp, Upload},
    error::{Error, Result},
    http::FileBody,
    service::{CreateSession, Limits, Receipt, SessionState},
};

/// A page ends early when its JSON has about this number of bytes.
const MAX_LIST_BYTES: usize = 2 * 1024 * 1024;

/// `POST /uploads/sessions`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct CreateBody {
    original_filename: String,
    content_type: Option<String>,
    total_size_bytes: i64,
    sha256: Option<String>,
    metadata: Option<Box<RawValue>>,
    idempotency_key: Option<String>,
    #[serde(default)]
    auto_finalize: bool,
    retain_until: Option<String>,
}

impl CreateBody {
    /// The use case's input. The idempotency key comes from the body or from the header.
    pub(super) fn with_header_key(self, header: Option<String>) -> Result<CreateSession> {
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
            metadata: self.metadata,
            idempotency_key,
            auto_finalize: self.auto_finalize,
            upload_metadata: None,
            retain_until: self.retain_until.as_deref().map(parse_retain_until).transpose()?,
        })
    }
}

/// `POST /uploads/sessions/{id}/finalize`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FinalizeBody {
    pub(super) sha256: Option<String>,
    pub(super) composite_sha256: Option<String>,
}

/// `GET /uploads/sessions`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ListParams {
    pub(super) status: Option<String>,
    pub(super) open: Option<bool>,
    pub(super) original_filename: Option<String>,
    pub(super) total_size_bytes: Option<u64>,
    pub(super) limit: Option<u64>,
    pub(super) after: Option<String>,
}

/// `GET /uploads/sessions/{id}/parts`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PartsParams {
    pub(super) limit: Option<u64>,
    #[serde(default)]
    pub(super) after: u32,
}

/// A session in an answer.
#[derive(Debug, Serialize)]
pub(super) struct SessionBody {
    session_id: Uuid,
    status: &'static str,
    status_reason: Option<&'static str>,
    total_parts: u32,
    completed_parts: u32,
    received_parts: Ranges,
    missing_parts: Ranges,
    chunk_size_bytes: u64,
    total_size_bytes: u64,
    bytes_received: u64,
    contiguous_bytes: u64,
    auto_finalize: bool,
    version: u64,
    file: FileBody,
    created_at: Timestamp,
    updated_at: Timestamp,
    expires_at: Timestamp,
}

impl From<SessionState> for SessionBody {
    fn from(SessionState { session, file }: SessionState) -> Self {
        Self::from(Upload { session: Arc::unwrap_or_clone(session), file: Arc::unwrap_or_clone(file) })
    }
}

impl From<Upload> for SessionBody {
    fn from(Upload { session, file }: Upload) -> Self {
        let plan = session.plan;
        Self {
            session_id: session.id.0,
            status: session.status.as_str(),
            status_reason: session.status_reason.map(|reason| reason.as_str()),
            total_parts: plan.total_parts(),
            completed_parts: session.completed_parts(),
            received_parts: Ranges(session.received.ranges().collect()),
            missing_parts: Ranges(session.received.missing(plan.total_parts()).collect()),
            chunk_size_bytes: plan.chunk_size_bytes(),
            total_size_bytes: plan.total_size_bytes(),
            bytes_received: session.bytes_received,
            contiguous_bytes: session.contiguous_bytes(),
            auto_finalize: session.auto_finalize,
            version: session.version,
            file: file.into(),
            created_at: session.created_at,
            updated_at: session.updated_at,
            expires_at: session.expires_at,
        }
    }
}

impl SessionBody {
    /// The approximate length of its JSON in bytes.
    fn estimated_bytes(&self) -> usize {
        let ranges = self.received_parts.0.len() + self.missing_parts.0.len();
        1024 + 16 * ranges + self.file.text_bytes()
    }
}

/// `["1-50", "52"]`
#[derive(Debug)]
struct Ranges(Vec<PartRange>);

impl Serialize for Ranges {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut ranges = serializer.serialize_seq(Some(self.0.len()))?;
        let mut text = String::new();
        for range in &self.0 {
            text.clear();
            range.push_to(&mut text);
            ranges.serialize_element(&text)?;
        }
        ranges.end()
    }
}

/// A page of sessions.
#[derive(Debug, Serialize)]
pub(super) struct ListBody {
    sessions: Vec<SessionBody>,
    next: Option<Uuid>,
}

impl ListBody {
    /// A page with the first of these sessions: as many as fit into one answer, and at least one. If there are more, `next` is
    /// the cursor of the next page.
    pub(super) fn page(uploads: Vec<Upload>, has_more: bool) -> Self {
        let (count, mut bytes) = (uploads.len(), 0);
        let mut sessions = Vec::with_capacity(count);
        for upload in uploads {
            let body = SessionBody::from(upload);
            bytes += body.estimated_bytes();
            sessions.push(body);
            if bytes > MAX_LIST_BYTES {
                break;
            }
        }
        let has_more = has_more || sessions.len() < count;
        let next = sessions.last().map(|session| session.session_id).filter(|_| has_more);
        Self { sessions, next }
    }
}

/// A received part.
#[derive(Debug, Serialize)]
pub(super) struct PartBody {
    part_number: u32,
    offset_bytes: u64,
    size_bytes: u64,
    sha256: String,
    received_at: Timestamp,
}

impl From<&PartRecord> for PartBody {
    fn from(record: &PartRecord) -> Self {
        Self {
            part_number: record.part.number,
            offset_bytes: record.part.offset_bytes,
            size_bytes: record.part.size_bytes,
            sha256: record.sha256.to_string(),
            received_at: record.received_at,
        }
    }
}

/// A page of received parts.
#[derive(Debug, Serialize)]
pub(super) struct PartsBody {
    pub(super) parts: Vec<PartBody>,
    pub(super) next: Option<u32>,
}

/// The answer to a stored part.
#[derive(Debug, Serialize)]
pub(super) struct ReceiptBody {
    #[serde(flatten)]
    part: PartBody,
    status: &'static str,
    completed_parts: u32,
    total_parts: u32,
    version: u64,
}

impl From<&Receipt> for ReceiptBody {
    fn from(receipt: &Receipt) -> Self {
        let session = &receipt.session;
        Self {
            part: (&receipt.part).into(),
            status: session.status.as_str(),
            completed_parts: session.completed_parts(),
            total_parts: session.plan.total_parts(),
            version: session.version,
        }
    }
}

/// `GET /uploads/limits`.
#[derive(Debug, Serialize)]
pub(super) struct LimitsBody {
    chunk_size_bytes: u64,
    max_parts: u32,
    max_file_size_bytes: u64,
}

impl From<&Limits> for LimitsBody {
    fn from(limits: &Limits) -> Self {
        Self {
            chunk_size_bytes: limits.chunk_size.0,
            max_parts: limits.max_parts,
            max_file_size_bytes: limits.max_file_size.0,
        }
    }
}

fn parse_retain_until(text: &str) -> Result<Timestamp> {
    let invalid = |_| Error::invalid("retain_until", "must be a time of RFC 3339, such as 2026-12-31T23:59:59Z");
    DateTime::parse_from_rfc3339(text).map(|time| time.to_utc()).map_err(invalid)
}

/// Parses a status from a query string.
pub(super) fn parse_status(name: Option<&str>) -> Result<Option<SessionStatus>> {
    let unknown = || Error::invalid("status", "must be one of INIT, IN_PROGRESS, COMPLETE, FAILED, ABORTED");
    name.map(|name| SessionStatus::parse(name).ok_or_else(unknown)).transpose()
}

//! The JSON bodies of sessions in answers.

use bytes::Bytes;
use serde::{Deserialize, Serialize, Serializer, ser::SerializeSeq};
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use crate::{
    domain::{FileRecord, PartRange, Session, SessionState, SessionStatus, StatusReason, Timestamp, Upload},
    error::{Error, Result},
    http::{FileBody, openapi::Filename},
};

/// A page ends early when its JSON has about this number of bytes.
const MAX_LIST_BYTES: usize = 2 * 1024 * 1024;

/// `GET /uploads/sessions`.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(in crate::rest) struct ListParams {
    /// Only sessions with this status.
    #[param(value_type = Option<SessionStatus>)]
    pub(in crate::rest) status: Option<String>,
    /// Only sessions that have not ended (`true`), or that have (`false`).
    pub(in crate::rest) open: Option<bool>,
    /// Only sessions for a file with exactly this name, compared in Unicode normal form C.
    #[param(value_type = Option<Filename>)]
    pub(in crate::rest) original_filename: Option<String>,
    /// Only sessions for a file of exactly this size.
    #[param(format = "uint64", maximum = 18_446_744_073_709_551_615_u64)]
    pub(in crate::rest) total_size_bytes: Option<u64>,
    /// The number of sessions on a page. A larger number counts as 100.
    #[param(format = "uint64", minimum = 1, maximum = 18_446_744_073_709_551_615_u64, default = 20)]
    pub(in crate::rest) limit: Option<u64>,
    /// The `next` of the page before.
    #[param(format = Uuid)]
    pub(in crate::rest) after: Option<String>,
}

/// The upload of one file.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Session)]
pub(in crate::rest) struct SessionBody {
    session_id: Uuid,
    #[schema(value_type = SessionStatus)]
    status: &'static str,
    /// Null unless the status is `FAILED` or `ABORTED`.
    #[schema(required, value_type = Option<StatusReason>)]
    status_reason: Option<&'static str>,
    total_parts: u32,
    completed_parts: u32,
    received_parts: Ranges,
    missing_parts: Ranges,
    /// The size of every part but the last. Part `n` begins at byte `(n - 1) * chunk_size_bytes`.
    chunk_size_bytes: u64,
    total_size_bytes: u64,
    /// The bytes of the parts that have arrived.
    bytes_received: u64,
    /// How many bytes from the beginning of the file are durable without a gap.
    contiguous_bytes: u64,
    auto_finalize: bool,
    /// Grows by one with every change. It is the `ETag`.
    version: u64,
    file: FileBody,
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    #[schema(value_type = String, format = DateTime)]
    updated_at: Timestamp,
    /// When the server aborts the session if no bytes arrive.
    #[schema(value_type = String, format = DateTime)]
    expires_at: Timestamp,
}

/// The JSON of a state. Its first reader encodes it, and all others get the same bytes.
pub(in crate::rest) fn session_json(SessionState { session, file, encoded }: &SessionState) -> Bytes {
    let encode = || serde_json::to_vec(&SessionBody::new(session, (**file).clone()));
    encoded.rest.get_or_init(|| encode().expect("JSON can hold every session").into()).clone()
}

impl From<Upload> for SessionBody {
    fn from(Upload { session, file }: Upload) -> Self {
        Self::new(&session, file)
    }
}

impl SessionBody {
    fn new(session: &Session, file: FileRecord) -> Self {
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

    /// The approximate length of its JSON in bytes.
    fn estimated_bytes(&self) -> usize {
        let ranges = self.received_parts.0.len() + self.missing_parts.0.len();
        1024 + 16 * ranges + self.file.text_bytes()
    }
}

/// Numbers of parts as ranges, both ends included. Ascending; no two of them touch.
#[derive(Debug, ToSchema)]
#[schema(as = PartRanges, value_type = Vec<PartRange>, example = json!(["1-50", "52"]))]
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

/// A page of sessions, newest first. A page of very long sessions has fewer of them than `limit`.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = SessionPage)]
pub(in crate::rest) struct ListBody {
    sessions: Vec<SessionBody>,
    /// The cursor of the next page; null if there are no more.
    #[schema(required)]
    next: Option<Uuid>,
}

impl ListBody {
    /// A page with the first of these sessions: as many as fit into one answer, and at least one. If there are more, `next` is
    /// the cursor of the next page.
    pub(in crate::rest) fn page(uploads: Vec<Upload>, has_more: bool) -> Self {
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

/// Parses a status from a query string.
pub(in crate::rest) fn parse_status(name: Option<&str>) -> Result<Option<SessionStatus>> {
    let unknown = || Error::invalid("status", "must be one of INIT, IN_PROGRESS, COMPLETE, FAILED, ABORTED");
    name.map(|name| SessionStatus::parse(name).ok_or_else(unknown)).transpose()
}

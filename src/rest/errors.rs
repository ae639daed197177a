//! Which errors each operation can answer.
//!
//! Owns the codes that are an operation's own. Those that follow from its form, such as `UNAUTHENTICATED`, come from
//! `http/openapi`. A new operation needs a line here.

use crate::{
    error::Code::{
        self, Busy, BytesLost, ChecksumMismatch, EventsExpired, Forbidden, IdempotencyKeyReused, NotFound,
        PartConflict, PartOutOfRange, PartSizeMismatch, PartsMissing, PartsNotKept, PreconditionFailed, QuotaExceeded,
        RangeNotSatisfiable, RateLimited, SessionClosed,
    },
    http::openapi::Errors,
};

const OF_PART: &[Code] = &[
    NotFound,
    PartOutOfRange,
    PartSizeMismatch,
    ChecksumMismatch,
    PartConflict,
    SessionClosed,
    Busy,
    PreconditionFailed,
    PartsNotKept,
];

pub(super) const ERRORS: Errors = &[
    ("createSession", &[QuotaExceeded, IdempotencyKeyReused, RateLimited]),
    ("listSessions", &[Forbidden]),
    ("getSession", &[NotFound, PreconditionFailed, RateLimited]),
    ("watchSession", &[NotFound, RateLimited]),
    ("watchSessions", &[Forbidden, EventsExpired, RateLimited]),
    ("finalizeSession", &[NotFound, PreconditionFailed, PartsMissing, SessionClosed, BytesLost, Busy]),
    ("abortSession", &[NotFound, PreconditionFailed, SessionClosed]),
    ("createUploadToken", &[NotFound, SessionClosed, RateLimited]),
    ("getLimits", &[]),
    ("putPart", OF_PART),
    ("putPartByHeader", OF_PART),
    ("getPart", &[NotFound, PreconditionFailed, PartsNotKept]),
    ("listParts", &[NotFound, PartsNotKept]),
    ("listFiles", &[Forbidden]),
    ("getFile", &[NotFound, PreconditionFailed]),
    ("deleteFile", &[NotFound, PreconditionFailed]),
    ("computeFileSha256", &[NotFound, BytesLost]),
    ("downloadFile", &[Forbidden, NotFound, PreconditionFailed, RangeNotSatisfiable, BytesLost]),
    ("createDownloadLink", &[NotFound, RateLimited]),
    ("listEvents", &[Forbidden, EventsExpired]),
    ("getAccount", &[Forbidden]),
    ("getHealth", &[]),
    ("getReadiness", &[]),
    ("getMetrics", &[]),
    ("getOpenApi", &[]),
];

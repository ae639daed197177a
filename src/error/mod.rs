//! The errors that callers see.
//!
//! Owns the one table of codes (code, meaning, HTTP status, whether a retry can succeed) and the one error type that every use
//! case returns. The cause of an error goes to the log, and never to the caller. Does not own the formats of the
//! protocols: REST writes problem+json and GraphQL `extensions.code`. The texts are in `of_requests`, `of_uploads` and `of_server`. A new code needs
//! a row in the table, a constructor, a row in `docs/api.md`, and a decision whether a GraphQL mutation returns it in
//! `userErrors` (`UserErrorCode` in `graphql`).

mod of_requests;
mod of_server;
mod of_uploads;

use std::error::Error as StdError;

use serde_json::{Map, Value};

macro_rules! codes {
    ($($(#[doc = $meaning:literal])+ $variant:ident = $name:literal, $status:literal, $retryable:literal;)+) => {
        /// A stable error code. Codes are never renamed and never change their meaning.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Code { $($(#[doc = $meaning])+ $variant,)+ }

        impl Code {
            /// Every code, in the order of the table.
            pub const ALL: &[Self] = &[$(Self::$variant),+];

            /// The code as both protocols send it.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $name),+ }
            }

            /// The HTTP status that goes with it.
            pub fn http_status(self) -> u16 {
                match self { $(Self::$variant => $status),+ }
            }

            /// What it means, for clients.
            pub fn meaning(self) -> &'static str {
                match self { $(Self::$variant => concat!($($meaning),+).trim_ascii()),+ }
            }

            /// Whether the same request may succeed later.
            pub fn is_retryable(self) -> bool {
                match self { $(Self::$variant => $retryable),+ }
            }
        }
    };
}

codes! {
    /// The request has no token, or its token is unknown, expired or revoked.
    Unauthenticated = "UNAUTHENTICATED", 401, false;
    /// The request is not allowed: because of its origin, or because the token opens one upload or one file only.
    Forbidden = "FORBIDDEN", 403, false;
    /// The resource does not exist for this caller.
    NotFound = "NOT_FOUND", 404, false;
    /// The request is malformed; the message names the field.
    InvalidInput = "INVALID_INPUT", 400, false;
    /// The route does not support this method; `Allow` lists the methods that it supports.
    MethodNotAllowed = "METHOD_NOT_ALLOWED", 405, false;
    /// The route does not support the media type of the body; `Accept` names the supported media type.
    UnsupportedMediaType = "UNSUPPORTED_MEDIA_TYPE", 415, false;
    /// The `Range` begins after the end of the file.
    RangeNotSatisfiable = "RANGE_NOT_SATISFIABLE", 416, false;
    /// The file or the request is larger than the limit of this server.
    TooLarge = "TOO_LARGE", 413, false;
    /// The owner's files would have more bytes than the owner may have; the details say how many are left.
    QuotaExceeded = "QUOTA_EXCEEDED", 413, false;
    /// The idempotency key was used before, with other input.
    IdempotencyKeyReused = "IDEMPOTENCY_KEY_REUSED", 422, false;
    /// The session has no part with this number.
    PartOutOfRange = "PART_OUT_OF_RANGE", 400, false;
    /// The body does not have exactly the part's size.
    PartSizeMismatch = "PART_SIZE_MISMATCH", 400, false;
    /// The part was received before, with other bytes.
    PartConflict = "PART_CONFLICT", 409, false;
    /// The bytes of an append do not begin where the session's bytes end.
    OffsetMismatch = "OFFSET_MISMATCH", 409, false;
    /// A newer append to the same session took over.
    Superseded = "SUPERSEDED", 409, false;
    /// The request needs the length of the file, and has none.
    LengthRequired = "LENGTH_REQUIRED", 411, false;
    /// The bytes do not have the digest that was declared.
    ChecksumMismatch = "CHECKSUM_MISMATCH", 400, false;
    /// The session cannot be finalized: parts have not arrived.
    PartsMissing = "PARTS_MISSING", 409, false;
    /// The server has no document with this hash; send the document with it.
    PersistedQueryNotFound = "PERSISTED_QUERY_NOT_FOUND", 400, false;
    /// A condition of the request, such as `If-Match`, does not hold.
    PreconditionFailed = "PRECONDITION_FAILED", 412, false;
    /// The session has ended.
    SessionClosed = "SESSION_CLOSED", 409, false;
    /// The file's stored bytes are missing or damaged. The file's record stays; the log has the details.
    BytesLost = "BYTES_LOST", 410, false;
    /// The server has removed the records of the session's parts, some time after the end of the session.
    PartsNotKept = "PARTS_NOT_KEPT", 410, false;
    /// The server has removed events after this cursor because of their age.
    EventsExpired = "EVENTS_EXPIRED", 410, false;
    /// The owner has reached a limit, such as the number of open sessions.
    RateLimited = "RATE_LIMITED", 429, true;
    // Raised in `service/receive.rs`, `service/persist.rs`, `service/append/` and `service/send_again.rs`.
    /// Another request is writing the same part, or the parts that the client must send again.
    Busy = "BUSY", 409, true;
    /// The database or the storage cannot accept the request now.
    Unavailable = "UNAVAILABLE", 503, true;
    /// The server failed; the log has the cause with the request id.
    Internal = "INTERNAL", 500, false;
}

/// The result of a use case.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// An error with a stable code, a message for the caller, and a cause for the log.
#[derive(Debug)]
pub struct Error {
    code: Code,
    message: String,
    field: Option<&'static str>,
    details: Map<String, Value>,
    cause: Option<Box<dyn StdError + Send + Sync>>,
}

impl Error {
    fn new(code: Code, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), field: None, details: Map::new(), cause: None }
    }

    fn with(mut self, key: &str, value: impl Into<Value>) -> Self {
        self.details.insert(key.to_owned(), value.into());
        self
    }

    fn caused_by(mut self, cause: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.cause = Some(cause.into());
        self
    }

    /// The stable code.
    pub fn code(&self) -> Code {
        self.code
    }

    /// The text for the caller.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// The input field with an invalid value, in `snake_case`.
    pub fn field(&self) -> Option<&'static str> {
        self.field
    }

    /// Details for programs, such as missing parts, digests or limits. Keys are `snake_case`.
    pub fn details(&self) -> &Map<String, Value> {
        &self.details
    }

    /// Writes the cause to the log, if there is one. The edge that sends the error calls this once.
    pub fn log(&self) {
        if self.cause.is_some() {
            tracing::error!(code = self.code.as_str(), cause = self.with_causes(), "request failed");
        }
    }

    /// The message and the chain of its causes, for operators. The text of a driver's error often contains that of its cause, which
    /// is then not repeated.
    pub fn with_causes(&self) -> String {
        let mut text = self.message.clone();
        let mut next = self.cause.as_ref().map(|cause| &**cause as &dyn StdError);
        while let Some(error) = next {
            let cause = error.to_string();
            if !text.contains(&cause) {
                text = format!("{text}: {cause}");
            }
            next = error.source();
        }
        text
    }
}

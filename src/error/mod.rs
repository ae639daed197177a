//! What can go wrong, as the outside sees it.
//!
//! Owns the one table of codes (code, HTTP status, whether trying again can help) and the one error type that every use
//! case returns. REST shows it as problem+json, GraphQL as `extensions.code`; how, is theirs. The cause of an error is
//! kept for the log and never shown. What each error says is in `constructors`.

mod constructors;

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

            /// The code as both protocols spell it.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $name),+ }
            }

            /// The HTTP status that goes with it.
            pub fn http_status(self) -> u16 {
                match self { $(Self::$variant => $status),+ }
            }

            /// Whether the same request may succeed later.
            pub fn is_retryable(self) -> bool {
                match self { $(Self::$variant => $retryable),+ }
            }
        }
    };
}

codes! {
    /// No token, or one that is unknown, expired or revoked.
    Unauthenticated = "UNAUTHENTICATED", 401, false;
    /// The request is not allowed from where it comes.
    Forbidden = "FORBIDDEN", 403, false;
    /// There is no such thing for this caller.
    NotFound = "NOT_FOUND", 404, false;
    /// The request is malformed; the message names the field.
    InvalidInput = "INVALID_INPUT", 400, false;
    /// The route does not take this method; `Allow` names those that it takes.
    MethodNotAllowed = "METHOD_NOT_ALLOWED", 405, false;
    /// The body has another media type than the route takes; `Accept` names the one.
    UnsupportedMediaType = "UNSUPPORTED_MEDIA_TYPE", 415, false;
    /// The `Range` begins after the end of the file.
    RangeNotSatisfiable = "RANGE_NOT_SATISFIABLE", 416, false;
    /// The file or the request is larger than this server takes.
    TooLarge = "TOO_LARGE", 413, false;
    /// The idempotency key was used before, with other input.
    IdempotencyKeyReused = "IDEMPOTENCY_KEY_REUSED", 422, false;
    /// The session has no part with this number.
    PartOutOfRange = "PART_OUT_OF_RANGE", 400, false;
    /// The body does not have exactly the part's size.
    PartSizeMismatch = "PART_SIZE_MISMATCH", 400, false;
    /// The part was received before, with other bytes.
    PartConflict = "PART_CONFLICT", 409, false;
    /// The bytes do not have the digest that was declared.
    ChecksumMismatch = "CHECKSUM_MISMATCH", 400, false;
    /// The session cannot be finalized: parts have not arrived.
    PartsMissing = "PARTS_MISSING", 409, false;
    /// The hash stands for no document that this server knows; send the document with it.
    PersistedQueryNotFound = "PERSISTED_QUERY_NOT_FOUND", 400, false;
    /// What the request's conditions (`If-Match`, …) name is not what is there.
    PreconditionFailed = "PRECONDITION_FAILED", 412, false;
    /// The session has ended.
    SessionClosed = "SESSION_CLOSED", 409, false;
    /// The file's stored bytes are gone or damaged. Its record stays; the log says what was found.
    BytesLost = "BYTES_LOST", 410, false;
    /// Too much at once for one owner.
    RateLimited = "RATE_LIMITED", 429, true;
    /// Another request for the same part took over, or is being stored.
    Busy = "BUSY", 409, true;
    /// The database or the storage cannot take the request now.
    Unavailable = "UNAVAILABLE", 503, true;
    /// A fault of the server; the log has the cause under the request id.
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

    /// Its stable code.
    pub fn code(&self) -> Code {
        self.code
    }

    /// What the caller may read.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// The input field that is wrong, in `snake_case`.
    pub fn field(&self) -> Option<&'static str> {
        self.field
    }

    /// What a program can use: missing parts, digests, limits. Keys are `snake_case`.
    pub fn details(&self) -> &Map<String, Value> {
        &self.details
    }

    /// Writes the cause to the log, if there is one. Called once, by the edge that shows the error.
    pub fn log(&self) {
        if self.cause.is_some() {
            tracing::error!(code = self.code.as_str(), cause = self.with_causes(), "request failed");
        }
    }

    /// The message and what caused it, for those who run the server.
    pub fn with_causes(&self) -> String {
        let mut text = self.message.clone();
        let mut next = self.cause.as_ref().map(|cause| &**cause as &dyn StdError);
        while let Some(error) = next {
            text = format!("{text}: {error}");
            next = error.source();
        }
        text
    }
}

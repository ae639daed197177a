//! What can go wrong, as the outside sees it.
//!
//! Owns the one table of codes (code, HTTP status, whether trying again can help) and the one error type that every use
//! case returns. REST shows it as problem+json, GraphQL as `extensions.code`; how, is theirs. The cause of an error is
//! kept for the log and never shown.

use std::error::Error as StdError;

use serde_json::{Map, Value, json};

use crate::domain::{PartSet, Session, Sha256Digest};

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
    /// The session has ended.
    SessionClosed = "SESSION_CLOSED", 409, false;
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

    /// No valid token.
    pub fn unauthenticated() -> Self {
        Self::new(Code::Unauthenticated, "a valid bearer token is required")
    }

    /// Nothing there for this caller; `what` is a noun.
    pub fn not_found(what: &str) -> Self {
        Self::new(Code::NotFound, format!("there is no such {what}"))
    }

    /// An input field that is wrong.
    pub fn invalid(field: &'static str, problem: impl std::fmt::Display) -> Self {
        let mut error = Self::new(Code::InvalidInput, format!("{field}: {problem}")).with("field", field);
        error.field = Some(field);
        error
    }

    /// A request that cannot be read at all.
    pub fn malformed(problem: impl Into<String>) -> Self {
        Self::new(Code::InvalidInput, problem)
    }

    /// More bytes than `limit_bytes`; `what` is a noun.
    pub fn too_large(what: &str, limit_bytes: u64) -> Self {
        Self::new(Code::TooLarge, format!("{what} may have at most {limit_bytes} bytes"))
            .with("limit_bytes", limit_bytes)
    }

    /// An idempotency key that names another request.
    pub fn idempotency_key_reused() -> Self {
        Self::new(Code::IdempotencyKeyReused, "this idempotency key was used before with other input")
    }

    /// A part number beyond the plan.
    pub fn part_out_of_range(total_parts: u32) -> Self {
        let message = match total_parts {
            0 => "the file is empty and has no parts".to_owned(),
            total => format!("part numbers go from 1 to {total}"),
        };
        Self::new(Code::PartOutOfRange, message).with("total_parts", total_parts)
    }

    /// A body of the wrong length. `received_bytes` is what was declared or had arrived when it was clear.
    pub fn part_size_mismatch(expected_bytes: u64, received_bytes: u64) -> Self {
        let message = format!("this part has exactly {expected_bytes} bytes, not {received_bytes}");
        Self::new(Code::PartSizeMismatch, message)
            .with("expected_bytes", expected_bytes)
            .with("received_bytes", received_bytes)
    }

    /// A body that stopped coming before its end.
    pub fn body_cut(expected_bytes: u64, received_bytes: u64) -> Self {
        let message = format!("the body stopped after {received_bytes} of {expected_bytes} bytes; send the part again");
        Self::new(Code::Unavailable, message)
            .with("expected_bytes", expected_bytes)
            .with("received_bytes", received_bytes)
    }

    /// A part that was received before with other bytes.
    pub fn part_conflict(stored: Sha256Digest, received: Sha256Digest) -> Self {
        Self::new(Code::PartConflict, "this part was received before with other bytes")
            .with("stored_sha256", stored.to_string())
            .with("received_sha256", received.to_string())
    }

    /// Bytes that are not the declared ones; `what` is a noun.
    pub fn checksum_mismatch(what: &str, declared: Sha256Digest, actual: Sha256Digest) -> Self {
        Self::new(Code::ChecksumMismatch, format!("the {what} does not have the declared SHA-256"))
            .with("declared_sha256", declared.to_string())
            .with("actual_sha256", actual.to_string())
    }

    /// Parts that are not the client's: their composite digest is another one.
    pub fn composite_mismatch(expected: Sha256Digest, actual: Sha256Digest) -> Self {
        Self::new(Code::ChecksumMismatch, "the file's parts do not have the composite SHA-256 that you expect")
            .with("expected_composite_sha256", expected.to_string())
            .with("actual_composite_sha256", actual.to_string())
    }

    /// A finalize that came too early.
    pub fn parts_missing(received: &PartSet, total_parts: u32) -> Self {
        let missing: Vec<String> = received.missing(total_parts).map(|run| run.to_string()).collect();
        let count = total_parts - received.len();
        Self::new(Code::PartsMissing, format!("{count} of {total_parts} parts have not arrived"))
            .with("missing_parts", missing)
    }

    /// A session that has ended.
    pub fn session_closed(session: &Session) -> Self {
        Self::new(Code::SessionClosed, format!("the session has ended: it is {}", session.status.as_str()))
            .with("session_status", session.status.as_str())
            .with("status_reason", json!(session.status_reason.map(|reason| reason.as_str())))
    }

    /// Too many open sessions.
    pub fn too_many_sessions(limit: u64) -> Self {
        Self::new(Code::RateLimited, format!("at most {limit} sessions may be open at once; finalize or abort some"))
            .with("limit", limit)
    }

    /// A part that another request has; `why` is shown.
    pub fn busy(why: &str) -> Self {
        Self::new(Code::Busy, why)
    }

    /// A dependency that cannot take the request now; `what` is shown, the cause is not.
    pub fn unavailable(what: &str, cause: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        Self::new(Code::Unavailable, what).caused_by(cause)
    }

    /// A query that took longer than it may.
    pub fn too_slow(limit: std::time::Duration) -> Self {
        Self::new(Code::Unavailable, format!("the query took longer than {limit:?} and was given up"))
    }

    /// A request that is not allowed, whoever sends it; `why` is shown.
    pub fn forbidden(why: &str) -> Self {
        Self::new(Code::Forbidden, why)
    }

    /// A hash that stands for no document. The words are those that Apollo's clients look for.
    pub fn persisted_query_not_found() -> Self {
        Self::new(Code::PersistedQueryNotFound, "PersistedQueryNotFound")
    }

    /// More operations on one socket than it may have.
    pub fn too_many_operations(limit: usize) -> Self {
        Self::new(Code::RateLimited, format!("a socket may have at most {limit} operations under way"))
    }

    /// A server that is about to stop.
    pub fn stopping() -> Self {
        Self::new(Code::Unavailable, "the server is stopping")
    }

    /// A fault of the server.
    pub fn internal(cause: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        Self::new(Code::Internal, "an internal error occurred").caused_by(cause)
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

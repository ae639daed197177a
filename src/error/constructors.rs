//! One constructor per kind of error: its code, its message and its details.
//!
//! Owns the texts for callers. Does not own the codes and their HTTP statuses: those are in the table of the parent
//! module.

use std::error::Error as StdError;

use serde_json::json;

use super::{Code, Error};
use crate::domain::{Account, PartSet, Session, Sha256Digest};

impl Error {
    /// The request has no valid token.
    pub fn unauthenticated() -> Self {
        Self::new(Code::Unauthenticated, "a valid bearer token is required")
    }

    /// The thing does not exist for this caller. `what` is a noun.
    pub fn not_found(what: &str) -> Self {
        Self::new(Code::NotFound, format!("there is no such {what}"))
    }

    /// An input field has an invalid value.
    pub fn invalid(field: &'static str, problem: impl std::fmt::Display) -> Self {
        let mut error = Self::new(Code::InvalidInput, format!("{field}: {problem}")).with("field", field);
        error.field = Some(field);
        error
    }

    /// The name of an owner is invalid.
    pub fn invalid_owner() -> Self {
        Self::invalid("owner", "1 to 255 printable ASCII characters, with no space at either end")
    }

    /// A header comes twice. `field` names it.
    pub fn doubled(field: &'static str) -> Self {
        Self::invalid(field, "send this header once")
    }

    /// The request is malformed as a whole.
    pub fn malformed(problem: impl Into<String>) -> Self {
        Self::new(Code::InvalidInput, problem)
    }

    /// The route does not support the method. `why` is the message.
    pub fn method_not_allowed(why: &str) -> Self {
        Self::new(Code::MethodNotAllowed, why)
    }

    /// The body has another media type than JSON.
    pub fn not_json() -> Self {
        Self::new(Code::UnsupportedMediaType, "the body must be JSON, with Content-Type: application/json")
    }

    /// The body has another media type than the one that the route accepts.
    pub fn unsupported_media_type(accepted: &str) -> Self {
        Self::new(Code::UnsupportedMediaType, format!("the body must have Content-Type: {accepted}"))
    }

    /// The client does not speak the version of the protocol that the server speaks. `header` is how to declare it.
    pub fn unsupported_version(header: &str) -> Self {
        Self::new(Code::PreconditionFailed, format!("the server does nothing without the header {header}"))
    }

    /// The range begins after the end of a file of this size.
    pub fn range_not_satisfiable(size_bytes: u64) -> Self {
        Self::new(Code::RangeNotSatisfiable, "the range begins after the end of the file")
            .with("size_bytes", size_bytes)
    }

    /// There are more bytes than `limit_bytes`. `what` is a noun.
    pub fn too_large(what: &str, limit_bytes: u64) -> Self {
        Self::new(Code::TooLarge, format!("{what} may have at most {limit_bytes} bytes"))
            .with("limit_bytes", limit_bytes)
    }

    /// A file of this size does not fit into what the owner may use.
    pub fn quota_exceeded(account: &Account, needed_bytes: u64) -> Self {
        // Without a limit, the sum of the sizes must still fit into the database.
        let left = account.bytes_left().unwrap_or((i64::MAX as u64).saturating_sub(account.bytes_used));
        let message =
            format!("the file has {needed_bytes} bytes, and you have {left} left; delete files or abort sessions");
        Self::new(Code::QuotaExceeded, message)
            .with("bytes_needed", needed_bytes)
            .with("bytes_left", left)
            .with("bytes_used", account.bytes_used)
            .with("bytes_limit", json!(account.bytes_limit))
    }

    /// The owner used the idempotency key before, with other input.
    pub fn idempotency_key_reused() -> Self {
        Self::new(Code::IdempotencyKeyReused, "this idempotency key was used before with other input")
    }

    /// The session has no part with this number.
    pub fn part_out_of_range(total_parts: u32) -> Self {
        let message = match total_parts {
            0 => "the file is empty and has no parts".to_owned(),
            total => format!("part numbers go from 1 to {total}"),
        };
        Self::new(Code::PartOutOfRange, message).with("total_parts", total_parts)
    }

    /// The body does not have the size of the part. `received_bytes` is the declared length, or the number of bytes
    /// that the server had received when it refused the body.
    pub fn part_size_mismatch(expected_bytes: u64, received_bytes: u64) -> Self {
        let message = format!("this part has exactly {expected_bytes} bytes, not {received_bytes}");
        Self::new(Code::PartSizeMismatch, message)
            .with("expected_bytes", expected_bytes)
            .with("received_bytes", received_bytes)
    }

    /// The body of a part ended too early.
    pub fn body_cut(expected_bytes: u64, received_bytes: u64) -> Self {
        let message = format!("the body stopped after {received_bytes} of {expected_bytes} bytes; send the part again");
        Self::new(Code::Unavailable, message)
            .with("expected_bytes", expected_bytes)
            .with("received_bytes", received_bytes)
    }

    /// The body of a request other than a part's ended too early.
    pub fn body_stopped() -> Self {
        Self::new(Code::Unavailable, "the body stopped before its end")
    }

    /// The part was received before, with other bytes.
    pub fn part_conflict(stored: Sha256Digest, received: Sha256Digest) -> Self {
        Self::new(Code::PartConflict, "this part was received before with other bytes")
            .with("stored_sha256", stored.to_string())
            .with("received_sha256", received.to_string())
    }

    /// An append begins at the offset `provided`, and the server accepts only bytes from `expected` on.
    pub fn offset_mismatch(expected: u64, provided: u64) -> Self {
        Self::new(Code::OffsetMismatch, format!("the next byte that the server needs is at {expected}, not {provided}"))
            .with("expected_offset", expected)
            .with("provided_offset", provided)
    }

    /// A newer append to the same session took over.
    pub fn superseded() -> Self {
        Self::new(Code::Superseded, "a newer request that appends to this session took over")
    }

    /// The request needs the length of the file, and has none. `how` says how to send it.
    pub fn length_required(how: &str) -> Self {
        Self::new(Code::LengthRequired, format!("the server must know the length of the file: {how}"))
    }

    /// The bytes do not have the declared SHA-256. `what` is a noun.
    pub fn checksum_mismatch(what: &str, declared: Sha256Digest, actual: Sha256Digest) -> Self {
        Self::new(Code::ChecksumMismatch, format!("the {what} does not have the declared SHA-256"))
            .with("declared_sha256", declared.to_string())
            .with("actual_sha256", actual.to_string())
    }

    /// The body does not have the declared digest. `algorithm` is its name, such as `SHA-512`.
    pub fn body_mismatch(algorithm: &str, declared: &[u8], actual: &[u8]) -> Self {
        let key = algorithm.to_ascii_lowercase().replace('-', "");
        Self::new(Code::ChecksumMismatch, format!("the body does not have the declared {algorithm}"))
            .with(&format!("declared_{key}"), hex::encode(declared))
            .with(&format!("actual_{key}"), hex::encode(actual))
    }

    /// The received parts do not have the composite digest that the client expects.
    pub fn composite_mismatch(expected: Sha256Digest, actual: Sha256Digest) -> Self {
        Self::new(Code::ChecksumMismatch, "the parts of the file do not have the expected composite SHA-256")
            .with("expected_composite_sha256", expected.to_string())
            .with("actual_composite_sha256", actual.to_string())
    }

    /// The client finalizes a session that lacks parts.
    pub fn parts_missing(received: &PartSet, total_parts: u32) -> Self {
        let missing: Vec<String> = received.missing(total_parts).map(|run| run.to_string()).collect();
        let count = total_parts - received.len();
        Self::new(Code::PartsMissing, format!("{count} of {total_parts} parts have not arrived"))
            .with("missing_parts", missing)
    }

    /// A condition of the request does not hold.
    pub fn precondition_failed() -> Self {
        Self::new(Code::PreconditionFailed, "the resource does not meet the conditions of the request; read it again")
    }

    /// The session has ended.
    pub fn session_closed(session: &Session) -> Self {
        let reason = match session.status_reason {
            Some(reason) => format!(" ({})", reason.as_str()),
            None if session.file_deleted => ", and its file was deleted".to_owned(),
            None => String::new(),
        };
        Self::new(Code::SessionClosed, format!("the session has ended: it is {}{reason}", session.status.as_str()))
            .with("session_status", session.status.as_str())
            .with("status_reason", json!(session.status_reason.map(|reason| reason.as_str())))
    }

    /// The server has removed the records of the parts of a session that ended long ago.
    pub fn parts_not_kept() -> Self {
        let message =
            "the session ended long ago, and the server has removed the records of its parts (part_retention)";
        Self::new(Code::PartsNotKept, message)
    }

    /// The server has removed events after the cursor.
    pub fn events_expired() -> Self {
        let message = "the server no longer has the events after this cursor: it has removed them because of their age \
                       (event_retention), or its database was restored; begin again without a cursor";
        Self::new(Code::EventsExpired, message)
    }

    /// The owner has too many open sessions.
    pub fn too_many_sessions(limit: u64) -> Self {
        Self::new(Code::RateLimited, format!("at most {limit} sessions may be open at once; finalize or abort some"))
            .with("limit", limit)
    }

    /// The session has too many tokens.
    pub fn too_many_tokens(limit: u64) -> Self {
        Self::new(Code::RateLimited, format!("a session may have at most {limit} tokens that have not expired"))
            .with("limit", limit)
    }

    /// The owner has too many open streams.
    pub fn too_many_streams(limit: u64) -> Self {
        Self::new(Code::RateLimited, format!("at most {limit} streams may be open at once; close some"))
            .with("limit", limit)
    }

    /// Another request is writing the part. `why` is the message.
    pub fn busy(why: &str) -> Self {
        Self::new(Code::Busy, why)
    }

    /// A dependency cannot accept the request now. `what` is the message; only the log has the cause.
    pub fn unavailable(what: &str, cause: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        Self::new(Code::Unavailable, what).caused_by(cause)
    }

    /// All bytes of a file have arrived, and the server has not stored it as a file.
    pub fn not_stored_yet() -> Self {
        Self::new(Code::Unavailable, "all bytes have arrived, but the server could not store the file yet; try again")
    }

    /// After storing these bytes, the storage would have less than `min_free_space` free.
    pub fn storage_full(needed_bytes: u64, free_bytes: u64, min_free_bytes: u64) -> Self {
        Self::new(Code::Unavailable, "the storage is full: it would have less than min_free_space left")
            .with("needed_bytes", needed_bytes)
            .with("free_bytes", free_bytes)
            .with("min_free_bytes", min_free_bytes)
    }

    /// The query took longer than its limit.
    pub fn too_slow(limit: std::time::Duration) -> Self {
        Self::new(Code::Unavailable, format!("the query took longer than {limit:?}, and the server stopped it"))
    }

    /// The request is not allowed for any caller. `why` is the message.
    pub fn forbidden(why: &str) -> Self {
        Self::new(Code::Forbidden, why)
    }

    /// The caller's token opens one upload, and the request needs more.
    pub fn narrow_token() -> Self {
        Self::new(Code::Forbidden, "this token opens one upload only")
    }

    /// The server has no document with this hash. Apollo's clients look for exactly this text.
    pub fn persisted_query_not_found() -> Self {
        Self::new(Code::PersistedQueryNotFound, "PersistedQueryNotFound")
    }

    /// The socket has too many operations under way.
    pub fn too_many_operations(limit: usize) -> Self {
        Self::new(Code::RateLimited, format!("a socket may have at most {limit} operations under way"))
    }

    /// There are too many connections, in total or from one address.
    pub fn too_many_connections() -> Self {
        Self::new(Code::Unavailable, "there are too many connections; try again later")
    }

    /// The server is stopping.
    pub fn stopping() -> Self {
        Self::new(Code::Unavailable, "the server is stopping")
    }

    /// Stored bytes are missing, or are not the bytes that were stored.
    pub fn bytes_lost(cause: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        Self::new(Code::BytesLost, "the stored bytes of this file are missing or damaged").caused_by(cause)
    }

    /// The database and the storage do not belong together. The operator sees this when the server starts.
    pub fn misbound(problem: String) -> Self {
        Self::new(Code::Internal, problem)
    }

    /// The server failed.
    pub fn internal(cause: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        Self::new(Code::Internal, "an internal error occurred").caused_by(cause)
    }
}

//! One constructor per kind of error: its code, its message and its details.
//!
//! Owns the words. Which code has which HTTP status is in the table of the parent module.

use std::error::Error as StdError;

use serde_json::json;

use super::{Code, Error};
use crate::domain::{PartSet, Session, Sha256Digest};

impl Error {
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

    /// A method that the route does not take; `why` is shown.
    pub fn method_not_allowed(why: &str) -> Self {
        Self::new(Code::MethodNotAllowed, why)
    }

    /// A body of another media type than JSON.
    pub fn not_json() -> Self {
        Self::new(Code::UnsupportedMediaType, "the body must be JSON, with Content-Type: application/json")
    }

    /// A range that begins after the end of a file of this size.
    pub fn range_not_satisfiable(size_bytes: u64) -> Self {
        Self::new(Code::RangeNotSatisfiable, "the range begins after the end of the file")
            .with("size_bytes", size_bytes)
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

    /// A body that is not stored and stopped coming before its end.
    pub fn body_stopped() -> Self {
        Self::new(Code::Unavailable, "the body stopped before its end; send the request again")
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

    /// Bytes of which the SHA-512 is not the declared one.
    pub fn sha512_mismatch(declared: &[u8; 64], actual: &[u8; 64]) -> Self {
        Self::new(Code::ChecksumMismatch, "the body does not have the declared SHA-512")
            .with("declared_sha512", hex::encode(declared))
            .with("actual_sha512", hex::encode(actual))
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

    /// A condition that does not hold.
    pub fn precondition_failed() -> Self {
        Self::new(Code::PreconditionFailed, "what the request's conditions name is not what is there")
    }

    /// A session that has ended.
    pub fn session_closed(session: &Session) -> Self {
        let reason = session.status_reason.map(|reason| format!(" ({})", reason.as_str())).unwrap_or_default();
        Self::new(Code::SessionClosed, format!("the session has ended: it is {}{reason}", session.status.as_str()))
            .with("session_status", session.status.as_str())
            .with("status_reason", json!(session.status_reason.map(|reason| reason.as_str())))
    }

    /// Too many open sessions.
    pub fn too_many_sessions(limit: u64) -> Self {
        Self::new(Code::RateLimited, format!("at most {limit} sessions may be open at once; finalize or abort some"))
            .with("limit", limit)
    }

    /// Too many streams.
    pub fn too_many_streams(limit: u64) -> Self {
        Self::new(Code::RateLimited, format!("at most {limit} streams may be open at once; end some"))
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

    /// Taking so many bytes would leave less free than must stay free.
    pub fn storage_full(needed_bytes: u64, free_bytes: u64, min_free_bytes: u64) -> Self {
        Self::new(Code::Unavailable, "the storage is full: less than min_free_space would stay free")
            .with("needed_bytes", needed_bytes)
            .with("free_bytes", free_bytes)
            .with("min_free_bytes", min_free_bytes)
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

    /// More connections than the server takes, in all or from one address.
    pub fn too_many_connections() -> Self {
        Self::new(Code::Unavailable, "there are too many connections; try again later")
    }

    /// A server that is about to stop.
    pub fn stopping() -> Self {
        Self::new(Code::Unavailable, "the server is stopping")
    }

    /// Stored bytes that are not there any more, or are others than were stored.
    pub fn bytes_lost(cause: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        Self::new(Code::BytesLost, "the stored bytes of this file are gone or damaged").caused_by(cause)
    }

    /// A database and a storage that do not belong together; told at a start, to those who run the server.
    pub fn misbound(problem: String) -> Self {
        Self::new(Code::Internal, problem)
    }

    /// A fault of the server.
    pub fn internal(cause: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        Self::new(Code::Internal, "an internal error occurred").caused_by(cause)
    }
}

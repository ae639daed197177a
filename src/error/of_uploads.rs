//! Errors of sessions, parts, files and events: what the request asks for does not fit their state.
//!
//! Owns the texts for callers. Does not own the codes and their HTTP statuses: those are in the table of the parent module.

use std::error::Error as StdError;

use serde_json::json;

use super::{Code, Error};
use crate::domain::{Account, Crc64Nvme, PartSet, Session, Sha256Digest};

impl Error {
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

    /// The bytes do not have the declared SHA-256. `what` is a noun.
    pub fn checksum_mismatch(what: &str, declared: Sha256Digest, actual: Sha256Digest) -> Self {
        Self::new(Code::ChecksumMismatch, format!("the {what} does not have the declared SHA-256"))
            .with("declared_sha256", declared.to_string())
            .with("actual_sha256", actual.to_string())
    }

    /// The file does not have the expected or declared CRC-64/NVME.
    pub fn crc64_mismatch(declared: Crc64Nvme, actual: Crc64Nvme) -> Self {
        Self::new(Code::ChecksumMismatch, "the file does not have the declared CRC-64/NVME")
            .with("declared_crc64nvme", declared.to_string())
            .with("actual_crc64nvme", actual.to_string())
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

    /// The file has too many links.
    pub fn too_many_links(limit: u64) -> Self {
        Self::new(Code::RateLimited, format!("a file may have at most {limit} links that have not expired"))
            .with("limit", limit)
    }

    /// Another request is writing the part. `why` is the message.
    pub fn busy(why: &str) -> Self {
        Self::new(Code::Busy, why)
    }

    /// All bytes of a file have arrived, and the server has not stored it as a file.
    pub fn not_stored_yet() -> Self {
        Self::new(Code::Unavailable, "all bytes have arrived, but the server could not store the file yet; try again")
    }

    /// Stored bytes are missing, or are not the bytes that were stored.
    pub fn bytes_lost(cause: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        Self::new(Code::BytesLost, "the stored bytes of this file are missing or damaged").caused_by(cause)
    }
}

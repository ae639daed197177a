//! Errors of the server: it, or something that it depends on, cannot do what the request asks for.
//!
//! Owns the texts for callers. Does not own the codes and their HTTP statuses: those are in the table of the parent module.

use std::error::Error as StdError;

use super::{Code, Error};

impl Error {
    /// The body of a request other than a part's ended too early.
    pub fn body_stopped() -> Self {
        Self::new(Code::Unavailable, "the body stopped before its end")
    }

    /// The owner has too many open streams.
    pub fn too_many_streams(limit: u64) -> Self {
        Self::new(Code::RateLimited, format!("at most {limit} streams may be open at once; close some"))
            .with("limit", limit)
    }

    /// A dependency cannot accept the request now. `what` is the message; only the log has the cause.
    pub fn unavailable(what: &str, cause: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        Self::new(Code::Unavailable, what).caused_by(cause)
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

    /// The database and the storage do not belong together. The operator sees this when the server starts.
    pub fn misbound(problem: String) -> Self {
        Self::new(Code::Internal, problem)
    }

    /// A move cannot begin or go on. The operator sees this.
    pub fn cannot_move(problem: String) -> Self {
        Self::new(Code::Internal, problem)
    }

    /// The server failed.
    pub fn internal(cause: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        Self::new(Code::Internal, "an internal error occurred").caused_by(cause)
    }
}

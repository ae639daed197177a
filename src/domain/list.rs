//! The list of an owner's sessions.
//!
//! Owns the query for a page, and the page. The order is always newest first.

use super::{SessionId, SessionStatus, Upload};

/// A query for one page of the list.
#[derive(Clone, Debug)]
pub struct SessionQuery {
    /// Only sessions with this status.
    pub status: Option<SessionStatus>,
    /// Only sessions for a file with exactly this name, in any Unicode normal form.
    pub original_filename: Option<String>,
    /// Only sessions for a file of exactly this size.
    pub total_size_bytes: Option<u64>,
    /// Only sessions after this one in the list, which are older.
    pub after: Option<SessionId>,
    /// Only sessions before this one in the list, which are newer.
    pub before: Option<SessionId>,
    /// From which end to count.
    pub direction: Direction,
    /// Maximum number of sessions in the page.
    pub limit: u64,
}

impl SessionQuery {
    /// Maximum `limit`.
    pub const MAX_LIMIT: u64 = 100;
    /// The `limit` if the client gives none.
    pub const DEFAULT_LIMIT: u64 = 20;
}

/// From which end of the list a page is counted. The page itself is newest first either way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Direction {
    /// From the newest.
    #[default]
    Forward,
    /// From the oldest.
    Backward,
}

impl Default for SessionQuery {
    fn default() -> Self {
        Self {
            status: None,
            original_filename: None,
            total_size_bytes: None,
            after: None,
            before: None,
            direction: Direction::Forward,
            limit: Self::DEFAULT_LIMIT,
        }
    }
}

/// A page of the list, newest first.
#[derive(Debug)]
pub struct UploadPage {
    /// The sessions with their files.
    pub uploads: Vec<Upload>,
    /// Whether the list goes on in the direction of counting.
    pub has_more: bool,
}

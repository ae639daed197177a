//! The lists of an owner's sessions and files.
//!
//! Owns the query for a page, and the page. Every file has one session, so both lists are in the order of the sessions, newest
//! first, and have the same cursors.

use super::{FileRecord, FileStatus, SessionId, SessionStatus, Upload};

/// A query for one page of a list.
#[derive(Clone, Debug)]
pub struct UploadQuery {
    /// Only sessions with this status.
    pub status: Option<SessionStatus>,
    /// Only sessions that are open, or only those that have ended.
    pub open: Option<bool>,
    /// Only files with this status, or the sessions of such files.
    pub file_status: Option<FileStatus>,
    /// Only files with exactly this name, in any Unicode normal form, or the sessions of such files.
    pub original_filename: Option<String>,
    /// Only files of exactly this size, or the sessions of such files.
    pub total_size_bytes: Option<u64>,
    /// Only what comes after this session in the list, which is older.
    pub after: Option<SessionId>,
    /// Only what comes before this session in the list, which is newer.
    pub before: Option<SessionId>,
    /// From which end to count.
    pub direction: Direction,
    /// Maximum number of items in the page.
    pub limit: u64,
}

impl UploadQuery {
    /// Maximum `limit`.
    pub const MAX_LIMIT: u64 = 100;
    /// The `limit` if the client gives none.
    pub const DEFAULT_LIMIT: u64 = 20;
    /// Maximum number of items that a list counts.
    pub const MAX_COUNT: u64 = 10_000;
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

impl Default for UploadQuery {
    fn default() -> Self {
        Self {
            status: None,
            open: None,
            file_status: None,
            original_filename: None,
            total_size_bytes: None,
            after: None,
            before: None,
            direction: Direction::Forward,
            limit: Self::DEFAULT_LIMIT,
        }
    }
}

/// A page of the list of sessions, newest first.
#[derive(Debug)]
pub struct UploadPage {
    /// The sessions with their files.
    pub uploads: Vec<Upload>,
    /// Whether the list goes on in the direction of counting.
    pub has_more: bool,
}

/// A page of the list of files, newest first.
#[derive(Debug)]
pub struct FilePage {
    /// The files, each with its cursor.
    pub files: Vec<(SessionId, FileRecord)>,
    /// Whether the list goes on in the direction of counting.
    pub has_more: bool,
}

//! Listing a caller's sessions: how an upload is found again from another device.

use super::{Service, SessionView, create::check_filename};
use crate::{
    db::ListFilter,
    domain::{Principal, SessionId, SessionStatus, filename_key},
    error::Result,
};

/// Most sessions in one answer.
pub const MAX_PAGE: u64 = 100;
/// Sessions in one answer where nothing is said.
pub const DEFAULT_PAGE: u64 = 20;

/// Which page of the list.
#[derive(Clone, Debug)]
pub struct SessionQuery {
    /// Only sessions with this status.
    pub status: Option<SessionStatus>,
    /// Only sessions for a file with exactly this name, in whatever Unicode normal form.
    pub original_filename: Option<String>,
    /// Only sessions for a file of exactly this size.
    pub total_size_bytes: Option<u64>,
    /// Only sessions after this one in the list, that is older ones.
    pub after: Option<SessionId>,
    /// Only sessions before this one in the list, that is newer ones.
    pub before: Option<SessionId>,
    /// From which end to count.
    pub direction: Direction,
    /// At most so many; more than 100 are not given.
    pub limit: u64,
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
            limit: DEFAULT_PAGE,
        }
    }
}

/// A page of the list, newest first.
#[derive(Debug)]
pub struct SessionList {
    /// The sessions.
    pub sessions: Vec<SessionView>,
    /// Whether the list goes on in the direction of counting.
    pub has_more: bool,
}

impl Service {
    /// A page of the caller's sessions, in one statement.
    ///
    /// # Errors
    /// `INVALID_INPUT` for a name that no file can have.
    pub async fn list(&self, principal: &Principal, query: SessionQuery) -> Result<SessionList> {
        let name = query.original_filename.map(check_filename).transpose()?;
        let filter = ListFilter {
            status: query.status,
            filename_key: name.map(|name| filename_key(&name)),
            total_size_bytes: query.total_size_bytes,
            older_than: query.after,
            newer_than: query.before,
            from_oldest: query.direction == Direction::Backward,
            limit: query.limit.min(MAX_PAGE),
        };
        let page = self.db.list_sessions(&principal.owner, &filter).await?;
        let sessions = page.sessions.into_iter().map(|(session, file)| SessionView { session, file }).collect();
        Ok(SessionList { sessions, has_more: page.has_more })
    }
}

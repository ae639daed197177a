//! What a move will do, and what it has done.

use std::collections::BTreeMap;

use crate::{
    domain::{EventId, FileId, FileRecord, PartSet, Session, SessionId, Timestamp},
    service::Finding,
};

/// What a move will copy.
#[derive(Clone, Debug, Default)]
pub struct MovePlan {
    /// The number of sessions.
    pub sessions: u64,
    /// The number of stored files, and of their bytes.
    pub files: u64,
    /// The bytes of the stored files.
    pub file_bytes: u64,
    /// The number of open sessions.
    pub open_sessions: u64,
    /// The bytes of their parts.
    pub open_bytes: u64,
    /// Open sessions whose parts the source's store does not return. They are not in `open_bytes`.
    pub unreadable_sessions: u64,
    /// The bytes of these parts.
    pub unreadable_bytes: u64,
    /// What cannot be moved.
    pub left_behind: Vec<LeftBehind>,
}

/// What stays at the source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeftBehind {
    /// `file`, `session` or `event`.
    pub kind: &'static str,
    /// Its id.
    pub id: String,
    /// The session, if it stays behind too.
    pub session: Option<SessionId>,
    /// The owner, if the row can be read.
    pub owner: Option<String>,
    /// The name of the file, if the row can be read.
    pub filename: Option<String>,
    /// Why it cannot be moved.
    pub why: String,
}

impl LeftBehind {
    pub(super) fn file(session: &Session, file: &FileRecord, why: String) -> Self {
        Self {
            kind: "file",
            id: file.id.to_string(),
            session: Some(session.id),
            owner: Some(file.owner.to_string()),
            filename: Some(file.original_filename.clone()),
            why,
        }
    }

    pub(super) fn open_session(session: &Session, file: &FileRecord, why: String) -> Self {
        Self { kind: "session", id: session.id.to_string(), ..Self::file(session, file, why) }
    }

    pub(super) fn unreadable(session: SessionId, why: String) -> Self {
        let (id, session) = (session.to_string(), Some(session));
        Self { kind: "session", id, session, owner: None, filename: None, why }
    }

    pub(super) fn lone_file(file: FileId) -> Self {
        let why = "no session refers to it".to_owned();
        Self { kind: "file", id: file.to_string(), session: None, owner: None, filename: None, why }
    }

    pub(super) fn event(event: EventId, why: String) -> Self {
        Self { kind: "event", id: event.to_string(), session: None, owner: None, filename: None, why }
    }
}

/// Received parts of an open session that the target does not have. Its client sends them again.
#[derive(Clone, Debug, PartialEq)]
pub struct MissingParts {
    /// The session.
    pub session: SessionId,
    /// Its owner.
    pub owner: String,
    /// The name of its file.
    pub filename: String,
    /// The parts.
    pub parts: PartSet,
    /// Whether the tail is missing too.
    pub has_no_tail: bool,
    /// Why.
    pub why: String,
}

/// How a move has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MoveOutcome {
    /// Everything is copied and checked. The target is ready to be used.
    Ready,
    /// The move was finished before, at this time. Nothing was done.
    FinishedBefore(Timestamp),
    /// Something cannot be moved, and the operator must decide whether the move is finished without it.
    Undecided,
    /// The check of the target has found problems.
    Damaged,
}

/// The result of a move.
#[derive(Clone, Debug)]
pub struct MoveReport {
    /// How it has ended.
    pub outcome: MoveOutcome,
    /// What was to be copied.
    pub plan: MovePlan,
    /// The bytes that this run has copied.
    pub copied_bytes: u64,
    /// The number of copied rows of each table.
    pub rows: BTreeMap<&'static str, u64>,
    /// The number of stored files that were copied without a comparison, because no digest of them is recorded.
    pub not_compared: u64,
    /// Received parts that the target does not have.
    pub missing_parts: Vec<MissingParts>,
    /// What stays at the source.
    pub left_behind: Vec<LeftBehind>,
    /// What the check of the target has found.
    pub problems: Vec<Finding>,
}

impl MoveReport {
    pub(super) fn new(outcome: MoveOutcome, plan: MovePlan) -> Self {
        Self {
            outcome,
            plan,
            copied_bytes: 0,
            rows: BTreeMap::new(),
            not_compared: 0,
            missing_parts: Vec::new(),
            left_behind: Vec::new(),
            problems: Vec::new(),
        }
    }

    /// Sorts what was found at the same time, so that two runs report the same.
    pub(super) fn in_order(&mut self) {
        self.missing_parts.sort_by_key(|missing| missing.session);
        self.left_behind.sort_by(|one, other| (one.kind, &one.id).cmp(&(other.kind, &other.id)));
    }
}

//! An owner's account: what the owner uses, and how much the owner may use.
//!
//! Owns what counts: a file counts with its declared size while its session is open and while it is stored. Does not own the
//! rows and the check of a limit: the database does both in the transaction that creates or ends an upload.

use super::{FileStatus, OwnerName, upload::UploadState};

/// What an owner uses, and the limits that apply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// The owner.
    pub owner: OwnerName,
    /// The sizes of the owner's files that are open or stored, in bytes.
    pub bytes_used: u64,
    /// Maximum of `bytes_used`; `None` if there is no limit.
    pub bytes_limit: Option<u64>,
    /// The number of the owner's open sessions.
    pub open_sessions: u64,
    /// Maximum of `open_sessions`.
    pub open_sessions_limit: u64,
}

impl Account {
    /// How many bytes the owner may still use; `None` if there is no limit.
    pub fn bytes_left(&self) -> Option<u64> {
        Some(self.bytes_limit?.saturating_sub(self.bytes_used))
    }
}

/// The limits of every owner without limits of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AccountLimits {
    /// Maximum of the bytes; `None` if there is no limit.
    pub max_bytes: Option<u64>,
    /// Maximum number of open sessions.
    pub max_open_sessions: u64,
}

/// The part of an account that one upload contributes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Bytes.
    pub bytes: i64,
    /// Open sessions: 0 or 1.
    pub open_sessions: i64,
}

impl Usage {
    /// What an upload with this state uses. `size_bytes` is the size of the file, at most `i64::MAX`.
    pub fn of(state: UploadState, size_bytes: u64) -> Self {
        let counts = matches!(state.file, FileStatus::Uploading | FileStatus::Stored);
        Self {
            bytes: if counts { i64::try_from(size_bytes).unwrap_or(i64::MAX) } else { 0 },
            open_sessions: state.session.is_open().into(),
        }
    }

    /// What this and `other` use together.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self { bytes: self.bytes.saturating_add(other.bytes), open_sessions: self.open_sessions + other.open_sessions }
    }

    /// How the account changes when an upload changes from `before` to this.
    #[must_use]
    pub fn since(self, before: Self) -> Self {
        Self { bytes: self.bytes - before.bytes, open_sessions: self.open_sessions - before.open_sessions }
    }

    /// Whether nothing is used, or nothing changes.
    pub fn is_zero(self) -> bool {
        self == Self::default()
    }
}

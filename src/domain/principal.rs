//! The caller.
//!
//! Owns the name of an owner, the authenticated caller, and what a caller may do. Does not check tokens: that is
//! `service/authenticate`.

use std::fmt;

use super::{FileId, SessionId};

/// The name of the owner of sessions and files: 1 to 255 visible characters of ASCII, so no spaces. That is the longest subject
/// that an identity provider may issue
/// ([OpenID Connect §2](https://openid.net/specs/openid-connect-core-1_0.html#IDToken)).
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct OwnerName(String);

impl OwnerName {
    /// Maximum length of a name.
    pub const MAX_CHARS: usize = 255;

    /// Reads a name. `None` if it has other characters or length.
    pub fn parse(name: &str) -> Option<Self> {
        let fits = !name.is_empty() && name.len() <= Self::MAX_CHARS;
        (fits && name.chars().all(|c| c.is_ascii_graphic())).then(|| Self(name.to_owned()))
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for OwnerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// An authenticated caller. Every use case has one as a parameter, and asks it for the owner whose rows it may touch. So every
/// query is limited to the rows of that owner, and a narrow token to its upload.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Principal {
    owner: OwnerName,
    scope: Scope,
}

/// What a caller may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Scope {
    /// Everything that the owner may do.
    Everything,
    /// Send the bytes of one upload, and ask for its state.
    Upload { session: SessionId, file: FileId },
    /// Read the content of one file.
    Content { file: FileId },
}

impl Principal {
    /// A caller who may do everything that this owner may do: with the owner's token, or the server itself.
    pub fn of_owner(owner: OwnerName) -> Self {
        Self { owner, scope: Scope::Everything }
    }

    /// A caller who may only send the bytes of one upload of this owner, and ask for its state.
    pub fn of_upload(owner: OwnerName, session: SessionId, file: FileId) -> Self {
        Self { owner, scope: Scope::Upload { session, file } }
    }

    /// A caller who may only read the content of one file of this owner.
    pub fn of_content(owner: OwnerName, file: FileId) -> Self {
        Self { owner, scope: Scope::Content { file } }
    }

    /// The owner, for a limit that all callers of one owner share. Gives no access to anything.
    pub fn counted_as(&self) -> &OwnerName {
        &self.owner
    }

    /// The owner, if the caller may do everything.
    pub fn for_everything(&self) -> Option<&OwnerName> {
        (self.scope == Scope::Everything).then_some(&self.owner)
    }

    /// The owner, if the caller may ask for this session and send its bytes.
    pub fn for_session(&self, id: SessionId) -> Option<&OwnerName> {
        let may = match self.scope {
            Scope::Everything => true,
            Scope::Upload { session, .. } => session == id,
            Scope::Content { .. } => false,
        };
        may.then_some(&self.owner)
    }

    /// The owner, and those of these sessions that the caller may ask for.
    pub fn sessions_among(&self, ids: &[SessionId]) -> (&OwnerName, Vec<SessionId>) {
        (&self.owner, ids.iter().copied().filter(|id| self.for_session(*id).is_some()).collect())
    }

    /// The owner, and those of these files whose records the caller may ask for.
    pub fn files_among(&self, ids: &[FileId]) -> (&OwnerName, Vec<FileId>) {
        (&self.owner, ids.iter().copied().filter(|id| self.for_file(*id).is_some()).collect())
    }

    /// The owner, if the caller may ask for the record of this file.
    pub fn for_file(&self, id: FileId) -> Option<&OwnerName> {
        let may = match self.scope {
            Scope::Everything => true,
            Scope::Upload { file, .. } => file == id,
            Scope::Content { .. } => false,
        };
        may.then_some(&self.owner)
    }

    /// The owner, if the caller may read the content of this file.
    pub fn for_content(&self, id: FileId) -> Option<&OwnerName> {
        let may = match self.scope {
            Scope::Everything => true,
            Scope::Upload { .. } => false,
            Scope::Content { file } => file == id,
        };
        may.then_some(&self.owner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn owners_have_plain_names() {
        for good in ["local", "ci+1@example.org", "team/blue", "a", "auth0|5f7c8ec7", &"x".repeat(255)] {
            assert!(OwnerName::parse(good).is_some(), "{good}");
        }
        for bad in ["", " ", "two words", "a ", " a", "tab\t", "line\n", "nul\0", "ünïcode", &"x".repeat(256)] {
            assert!(OwnerName::parse(bad).is_none(), "{bad}");
        }
    }
}

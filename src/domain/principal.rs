//! The caller.
//!
//! Owns the name of an owner and the authenticated caller. Does not check tokens: that is `service/authenticate`.

use std::fmt;

use uuid::Uuid;

/// The name of the owner of sessions and files: 1 to 100 letters, digits, `.`, `_`, `-`, `@`, `:` or `/`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct OwnerName(String);

impl OwnerName {
    /// Maximum length of a name, in bytes.
    pub const MAX_CHARS: usize = 100;

    /// Reads a name. `None` if it has other characters or length.
    pub fn parse(name: &str) -> Option<Self> {
        let allowed = |c: char| c.is_ascii_alphanumeric() || "._-@:/".contains(c);
        let fits = !name.is_empty() && name.len() <= Self::MAX_CHARS;
        (fits && name.chars().all(allowed)).then(|| Self(name.to_owned()))
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

/// An authenticated caller. Every use case has one as a parameter, so every query is limited to the rows of its owner.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Principal {
    /// Whose sessions and files the caller may see.
    pub owner: OwnerName,
    /// The token with which the caller authenticated.
    pub token_id: Uuid,
}

impl Principal {
    /// The server itself, which acts for an owner.
    pub fn acting_for(owner: OwnerName) -> Self {
        Self { owner, token_id: Uuid::nil() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn owners_have_plain_names() {
        for good in ["local", "ci@example.org", "team/blue", "a"] {
            assert!(OwnerName::parse(good).is_some(), "{good}");
        }
        for bad in ["", "two words", "tab\t", "ünïcode", &"x".repeat(101)] {
            assert!(OwnerName::parse(bad).is_none(), "{bad}");
        }
    }
}

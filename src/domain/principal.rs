//! Who is asking.
//!
//! Owns the owner's name and the authenticated caller. How a token proves it is the service's `authenticate`.

use std::fmt;

use uuid::Uuid;

/// The name under which sessions and files are kept: 1 to 100 letters, digits, `.`, `_`, `-`, `@`, `:` or `/`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct OwnerName(String);

impl OwnerName {
    /// The longest name.
    pub const MAX_CHARS: usize = 100;

    /// The name, if it is one.
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

/// An authenticated caller. Every use case takes one, so that no query can forget whose rows it may see.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Principal {
    /// Whose sessions and files the caller may see.
    pub owner: OwnerName,
    /// The token that proved it.
    pub token_id: Uuid,
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

//! The caller.
//!
//! Owns the name of an owner and the authenticated caller. Does not check tokens: that is `service/authenticate`.

use std::fmt;

/// The name of the owner of sessions and files: 1 to 255 printable characters of ASCII, with no space at either end. Every
/// subject of an identity provider is such a name
/// ([OpenID Connect §2](https://openid.net/specs/openid-connect-core-1_0.html#IDToken)).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct OwnerName(String);

impl OwnerName {
    /// Maximum length of a name.
    pub const MAX_CHARS: usize = 255;

    /// Reads a name. `None` if it has other characters or length.
    pub fn parse(name: &str) -> Option<Self> {
        let is_printable = |c: char| c.is_ascii_graphic() || c == ' ';
        let fits = !name.is_empty() && name.len() <= Self::MAX_CHARS && name.trim_ascii() == name;
        (fits && name.chars().all(is_printable)).then(|| Self(name.to_owned()))
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
}

impl Principal {
    /// The server itself, which acts for an owner.
    pub fn acting_for(owner: OwnerName) -> Self {
        Self { owner }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn owners_have_plain_names() {
        for good in ["local", "ci+1@example.org", "team/blue", "a", "auth0|5f7c8ec7", "Ann Lee", &"x".repeat(255)] {
            assert!(OwnerName::parse(good).is_some(), "{good}");
        }
        for bad in ["", " ", "a ", " a", "tab\t", "line\n", "nul\0", "ünïcode", &"x".repeat(256)] {
            assert!(OwnerName::parse(bad).is_none(), "{bad}");
        }
    }
}

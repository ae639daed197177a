//! The hash of a bearer token.
//!
//! Owns how a token is hashed. The database stores only the hash, so a stolen database gives no access. A token has 256
//! random bits, so one round of SHA-256 is enough: an attacker cannot guess it.

use super::Sha256Digest;

/// The SHA-256 of a bearer token's text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TokenHash(Sha256Digest);

impl TokenHash {
    /// The hash of this token.
    pub fn of(token: &str) -> Self {
        Self(Sha256Digest::of(token.as_bytes()))
    }

    /// The 32 bytes of the hash.
    pub fn as_bytes(&self) -> &[u8; 32] {
        self.0.as_bytes()
    }
}

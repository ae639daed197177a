//! Creating, listing and revoking tokens.
//!
//! Only the command line calls this. It needs no token: anyone who can open the database may create tokens. Does not
//! check tokens: that is `authenticate`.

use std::fmt;

use uuid::Uuid;

use super::Service;
use crate::{
    db::{NewToken, TokenRecord},
    domain::{OwnerName, TokenHash},
    error::{Error, Result},
};

/// The prefix of every token of an owner.
const PREFIX: &str = "pw_";
const MAX_NAME_CHARS: usize = 100;

/// A bearer token: 256 random bits. The command line shows it once; the database stores only its hash.
pub struct Token(String);

impl Token {
    /// A new token with this prefix, by which people and secret scanners recognise it.
    pub(super) fn random(prefix: &str) -> Result<Self> {
        let mut bits = [0; 32];
        getrandom::fill(&mut bits).map_err(|error| Error::internal(error.to_string()))?;
        Ok(Self(format!("{prefix}{}", hex::encode(bits))))
    }

    /// The token itself, to be shown once.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

/// Keeps the token out of logs.
impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(…)")
    }
}

/// A new token.
#[derive(Debug)]
pub struct CreatedToken {
    /// Its id, by which it is revoked.
    pub id: Uuid,
    /// The token.
    pub token: Token,
}

impl Service {
    /// Creates a token for an owner.
    ///
    /// # Errors
    /// `INVALID_INPUT` naming the field.
    pub async fn create_token(&self, owner: &str, name: &str, ttl: Option<chrono::TimeDelta>) -> Result<CreatedToken> {
        let (token, new) = self.new_token(owner, name, ttl)?;
        self.db.create_token(&new).await?;
        Ok(CreatedToken { id: new.id, token })
    }

    /// Creates a token if the database has none.
    pub async fn create_first_token(&self, owner: &str, name: &str) -> Result<Option<CreatedToken>> {
        let (token, new) = self.new_token(owner, name, None)?;
        let made = self.db.create_first_token(&new).await?;
        Ok(made.then_some(CreatedToken { id: new.id, token }))
    }

    /// The records of all tokens, oldest first. They do not contain the tokens.
    pub async fn tokens(&self) -> Result<Vec<TokenRecord>> {
        Ok(self.db.tokens().await?)
    }

    /// Revokes a token: in this process at once, in others within two seconds.
    ///
    /// # Errors
    /// `NOT_FOUND` if no active token has this id.
    pub async fn revoke_token(&self, id: Uuid) -> Result<()> {
        match self.db.revoke_token(id, self.clock.now()).await? {
            true => {
                self.tokens.forget(id);
                Ok(())
            }
            false => Err(Error::not_found("active token")),
        }
    }

    fn new_token(&self, owner: &str, name: &str, ttl: Option<chrono::TimeDelta>) -> Result<(Token, NewToken)> {
        let owner = OwnerName::parse(owner).ok_or_else(Error::invalid_owner)?;
        if name.chars().count() > MAX_NAME_CHARS || name.chars().any(char::is_control) {
            return Err(Error::invalid("name", "at most 100 characters, no control characters"));
        }
        let token = Token::random(PREFIX)?;
        let now = self.clock.now();
        let lifetime = || Error::invalid("expires_in", "longer than zero and less than a hundred thousand years");
        let expires_at = match ttl {
            Some(ttl) if ttl <= chrono::TimeDelta::zero() => return Err(lifetime()),
            Some(ttl) => Some(now.checked_add_signed(ttl).ok_or_else(lifetime)?),
            None => None,
        };
        let new = NewToken {
            id: Uuid::now_v7(),
            owner,
            name: name.to_owned(),
            hash: TokenHash::of(token.reveal()),
            created_at: now,
            expires_at,
        };
        Ok((token, new))
    }
}

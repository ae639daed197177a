//! Making, listing and revoking tokens. Reached from the command line alone: who may open the database may do this.

use std::fmt;

use uuid::Uuid;

use super::Service;
use crate::{
    db::{NewToken, TokenRecord},
    domain::{OwnerName, Sha256Digest},
    error::{Error, Result},
};

/// So that people and secret scanners know one when they see it.
const PREFIX: &str = "pw_";
const MAX_NAME_CHARS: usize = 100;

/// A bearer token: 256 random bits. Shown to the person who made it, then only its hash is kept.
pub struct Token(String);

impl Token {
    fn random() -> Result<Self> {
        let mut bits = [0; 32];
        getrandom::fill(&mut bits).map_err(|error| Error::internal(error.to_string()))?;
        Ok(Self(format!("{PREFIX}{}", hex::encode(bits))))
    }

    /// The token itself, to be shown once.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

/// Hides the token from logs.
impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(…)")
    }
}

/// A token that was just made.
#[derive(Debug)]
pub struct CreatedToken {
    /// Its id, by which it is revoked.
    pub id: Uuid,
    /// The token.
    pub token: Token,
}

impl Service {
    /// Makes a token for an owner.
    ///
    /// # Errors
    /// `INVALID_INPUT` naming the field.
    pub async fn create_token(&self, owner: &str, name: &str, ttl: Option<chrono::TimeDelta>) -> Result<CreatedToken> {
        let (token, new) = self.new_token(owner, name, ttl)?;
        self.db.create_token(&new).await?;
        Ok(CreatedToken { id: new.id, token })
    }

    /// Makes a token if there is none at all.
    pub async fn create_first_token(&self, owner: &str, name: &str) -> Result<Option<CreatedToken>> {
        let (token, new) = self.new_token(owner, name, None)?;
        let made = self.db.create_first_token(&new).await?;
        Ok(made.then_some(CreatedToken { id: new.id, token }))
    }

    /// Every token that was ever made, oldest first; never the tokens themselves.
    pub async fn tokens(&self) -> Result<Vec<TokenRecord>> {
        Ok(self.db.tokens().await?)
    }

    /// Makes a token useless: here at once, in other processes within two seconds.
    ///
    /// # Errors
    /// `NOT_FOUND` if there is none with this id that still works.
    pub async fn revoke_token(&self, id: Uuid) -> Result<()> {
        match self.db.revoke_token(id, self.clock.now()).await? {
            true => {
                self.tokens.forget(id);
                Ok(())
            }
            false => Err(Error::not_found("token in use")),
        }
    }

    fn new_token(&self, owner: &str, name: &str, ttl: Option<chrono::TimeDelta>) -> Result<(Token, NewToken)> {
        let owner = OwnerName::parse(owner)
            .ok_or_else(|| Error::invalid("owner", "1 to 100 letters, digits, or any of . _ - @ : /"))?;
        if name.chars().count() > MAX_NAME_CHARS || name.chars().any(char::is_control) {
            return Err(Error::invalid("name", "at most 100 characters, no control characters"));
        }
        let token = Token::random()?;
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
            hash: Sha256Digest::of(token.reveal().as_bytes()),
            created_at: now,
            expires_at,
        };
        Ok((token, new))
    }
}

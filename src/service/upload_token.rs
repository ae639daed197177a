//! Tokens for one upload.
//!
//! Owns how long such a token is valid, and how many a session may have. An application gives one to a page or a device that
//! must not have the owner's own token. Does not own what such a token may do: that is `domain/principal`.

use chrono::TimeDelta;

use super::{Service, input::parse_expires_in, scope, sweep::BATCH, token::Token};
use crate::{
    db::NewUploadToken,
    domain::{Principal, SessionId, Timestamp, TokenHash},
    error::{Error, Result},
};

/// The prefix of every token for one upload.
pub(super) const PREFIX: &str = "pu_";
/// Maximum number of tokens of one session that have not expired.
const MAX_TOKENS: u64 = 100;
const MAX_LIFETIME: TimeDelta = TimeDelta::days(36_525);

/// A new token for one upload.
#[derive(Debug)]
pub struct UploadToken {
    /// The token, which is shown once.
    pub token: Token,
    /// When it expires, as of now. Without a time of its own, that is when its session would expire, and each part moves it.
    pub expires_at: Timestamp,
}

impl Service {
    /// Creates a token that may only send the bytes of this session, finalize it, and ask for its state. `expires_in` is a
    /// duration such as `1h`; without it, the token is valid as long as the session is used.
    ///
    /// # Errors
    /// `NOT_FOUND`, `INVALID_INPUT` naming `expires_in`, `SESSION_CLOSED`, `RATE_LIMITED` if the session has too many tokens.
    pub async fn create_upload_token(
        &self,
        principal: &Principal,
        id: SessionId,
        expires_in: Option<&str>,
    ) -> Result<UploadToken> {
        scope::everything(principal)?;
        let now = self.clock.now();
        let expires_at = expires_in.map(|text| expiry(text, now)).transpose()?;
        let session = self.own_session(principal, id).await?;
        if !session.status.is_open() {
            return Err(Error::session_closed(&session));
        }
        let token = Token::random(PREFIX)?;
        let new = NewUploadToken {
            hash: TokenHash::of(token.reveal()),
            session: id,
            created_at: now,
            expires_at,
            check_at: expires_at.unwrap_or(session.expires_at),
        };
        match self.db.create_upload_token(&new, MAX_TOKENS).await? {
            true => Ok(UploadToken { token, expires_at: new.check_at }),
            false => Err(Error::too_many_tokens(MAX_TOKENS)),
        }
    }

    /// Removes the tokens that have expired.
    pub(super) async fn remove_expired_upload_tokens(&self) -> Result<()> {
        while self.db.remove_expired_upload_tokens(self.clock.now(), BATCH).await? as u64 == BATCH {}
        Ok(())
    }
}

fn expiry(text: &str, now: Timestamp) -> Result<Timestamp> {
    let problem = "must be a duration such as 30m or 12h, at most 100 years";
    let lifetime = parse_expires_in(text, MAX_LIFETIME, problem)?;
    now.checked_add_signed(lifetime).ok_or_else(|| Error::invalid("expires_in", problem))
}

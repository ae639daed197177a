//! Links to the content of one file.
//!
//! Owns how long a link is valid, and how many a file may have. A plain link or a player in a page cannot send a header, so the
//! token is in the URL, and opens nothing else. Does not own what a link may do: that is `domain/principal`.

use chrono::TimeDelta;

use super::{Service, input::parse_expires_in, scope, sweep::BATCH, token::Token};
use crate::{
    db::NewDownloadLink,
    domain::{FileId, Principal, Timestamp, TokenHash},
    error::{Error, Result},
};

/// The prefix of the token of every link.
pub(super) const PREFIX: &str = "pl_";
/// Maximum number of links to one file that have not expired.
const MAX_LINKS: u64 = 100;
const DEFAULT_LIFETIME: TimeDelta = TimeDelta::hours(1);
const MAX_LIFETIME: TimeDelta = TimeDelta::days(7);

/// A new link to the content of a file.
#[derive(Debug)]
pub struct DownloadLink {
    /// Its token, which is shown once.
    pub token: Token,
    /// When it expires.
    pub expires_at: Timestamp,
}

impl Service {
    /// Creates a link that may only read the content of this file. `expires_in` is a duration such as `30m`, by default an hour.
    ///
    /// # Errors
    /// `NOT_FOUND` if the caller has no such stored file. `INVALID_INPUT` naming `expires_in`. `RATE_LIMITED` if the file has too
    /// many links.
    pub async fn create_download_link(
        &self,
        principal: &Principal,
        id: FileId,
        expires_in: Option<&str>,
    ) -> Result<DownloadLink> {
        scope::everything(principal)?;
        let invalid = "must be a duration such as 30m or 12h, at most 7 days";
        let lifetime = expires_in.map(|text| parse_expires_in(text, MAX_LIFETIME, invalid)).transpose()?;
        self.content(principal, id).await?;
        let (token, created_at) = (Token::random(PREFIX)?, self.clock.now());
        let expires_at = created_at + lifetime.unwrap_or(DEFAULT_LIFETIME);
        let new = NewDownloadLink { hash: TokenHash::of(token.reveal()), file: id, created_at, expires_at };
        match self.db.create_download_link(&new, MAX_LINKS).await? {
            true => Ok(DownloadLink { token, expires_at }),
            false => Err(Error::too_many_links(MAX_LINKS)),
        }
    }

    /// Removes the links that have expired.
    pub(super) async fn remove_expired_download_links(&self) -> Result<()> {
        while self.db.remove_expired_download_links(self.clock.now(), BATCH).await? as u64 == BATCH {}
        Ok(())
    }
}

//! Authentication by bearer token: one of an owner, one for a single upload, or one of the application's identity provider; and
//! by a link to the content of a file.
//!
//! Owns the cache of valid tokens. The cache keeps a valid token for two seconds, so a client that sends many
//! requests costs one look-up and not one per request. A revoked token stops working at once in the process that revoked
//! it, and within two seconds in every other. The times of last use are collected in memory and written by the sweep, so
//! a status read writes nothing. Does not create or revoke tokens: that is `token`. Does not check a provider's tokens: that
//! is `identity`.

use std::{collections::HashMap, num::NonZeroUsize};

use chrono::TimeDelta;
use lru::LruCache;
use parking_lot::{Mutex, MutexGuard};
use uuid::Uuid;

use super::{Service, download_link, upload_token};
use crate::{
    db::{ValidDownloadLink, ValidUploadToken},
    domain::{Principal, Timestamp, TokenHash, is_younger},
    error::{Error, Result},
    identity::{Jwt, Refused, ValidJwt},
};

/// How long a cached token is valid.
const CACHE_TTL: TimeDelta = TimeDelta::seconds(2);
/// Maximum number of cached tokens. The least recently used one is evicted.
const MAX_CACHED: NonZeroUsize = NonZeroUsize::new(10_000).unwrap();

/// The cache of valid tokens, and the last-use times that are not written yet.
#[derive(Debug)]
pub(super) struct TokenCache(Mutex<State>);

#[derive(Debug)]
struct State {
    /// Valid tokens by their hash. Invalid ones are not cached, or guesses would evict them.
    cached: LruCache<TokenHash, CachedToken>,
    /// Last use of each token since the last sweep, accurate to [`CACHE_TTL`].
    used: HashMap<Uuid, Timestamp>,
}

#[derive(Debug)]
struct CachedToken {
    principal: Principal,
    /// The id of an own token.
    id: Option<Uuid>,
    expires_at: Option<Timestamp>,
    asked_at: Timestamp,
}

impl Default for TokenCache {
    fn default() -> Self {
        Self(Mutex::new(State { cached: LruCache::new(MAX_CACHED), used: HashMap::new() }))
    }
}

impl TokenCache {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock()
    }

    fn cached(&self, hash: &TokenHash, now: Timestamp) -> Option<Principal> {
        let mut state = self.state();
        let known = state.cached.get(hash)?;
        (is_younger(known.asked_at, CACHE_TTL, now) && known.expires_at.is_none_or(|expiry| now < expiry))
            .then(|| known.principal.clone())
    }

    fn store(&self, hash: TokenHash, token: CachedToken) {
        let mut state = self.state();
        if let Some(id) = token.id {
            state.used.insert(id, token.asked_at);
        }
        state.cached.put(hash, token);
    }

    /// Removes a token from the cache.
    pub(super) fn forget(&self, id: Uuid) {
        let mut state = self.state();
        let of_token = state.cached.iter().find(|(_, known)| known.id == Some(id)).map(|(hash, _)| *hash);
        of_token.map(|hash| state.cached.pop(&hash));
    }
}

impl Service {
    /// The caller who has this token.
    ///
    /// # Errors
    /// `UNAUTHENTICATED` if it is unknown, expired, revoked, or not valid for this server. `UNAVAILABLE` if the server could
    /// not check it.
    pub async fn authenticate(&self, token: &str) -> Result<Principal> {
        match token.starts_with(download_link::PREFIX) {
            // It may be in a link only.
            true => Err(Error::unauthenticated()),
            false => self.caller(token).await,
        }
    }

    /// The caller who has this token for one upload. Other tokens may not be in a URL, which browsers and proxies keep.
    ///
    /// # Errors
    /// As [`authenticate`](Self::authenticate).
    pub async fn authenticate_upload(&self, token: &str) -> Result<Principal> {
        match token.starts_with(upload_token::PREFIX) {
            true => self.caller(token).await,
            false => Err(Error::unauthenticated()),
        }
    }

    /// The caller who has this link to the content of a file.
    ///
    /// # Errors
    /// As [`authenticate`](Self::authenticate).
    pub async fn authenticate_link(&self, token: &str) -> Result<Principal> {
        match token.starts_with(download_link::PREFIX) {
            true => self.caller(token).await,
            false => Err(Error::unauthenticated()),
        }
    }

    /// The caller who has this token of any kind.
    async fn caller(&self, token: &str) -> Result<Principal> {
        let (hash, now) = (TokenHash::of(token), self.clock.now());
        if let Some(principal) = self.tokens.cached(&hash, now) {
            return Ok(principal);
        }
        let unknown = Error::unauthenticated;
        let (principal, id, expires_at) = match &self.identity {
            _ if token.starts_with(upload_token::PREFIX) => {
                let found = self.db.valid_upload_token(&hash, now).await?;
                let ValidUploadToken { session, file, owner, expires_at } = found.ok_or_else(unknown)?;
                (Principal::of_upload(owner, session, file), None, Some(expires_at))
            }
            _ if token.starts_with(download_link::PREFIX) => {
                let found = self.db.valid_download_link(&hash, now).await?;
                let ValidDownloadLink { file, owner, expires_at } = found.ok_or_else(unknown)?;
                (Principal::of_content(owner, file), None, Some(expires_at))
            }
            Some(provider) if is_jwt(token) => {
                let ValidJwt { owner, expires_at } = check_jwt(provider, token, now).await?;
                (Principal::of_owner(owner), None, Some(expires_at))
            }
            _ => {
                let own = self.db.valid_token(&hash, now).await?.ok_or_else(unknown)?;
                (Principal::of_owner(own.owner), Some(own.id), own.expires_at)
            }
        };
        self.tokens.store(hash, CachedToken { principal: principal.clone(), id, expires_at, asked_at: now });
        Ok(principal)
    }

    pub(super) async fn flush_token_uses(&self) -> Result<()> {
        let used = std::mem::take(&mut self.tokens.state().used);
        if !used.is_empty() {
            self.db.note_token_use(&used.into_iter().collect::<Vec<_>>()).await?;
        }
        Ok(())
    }
}

/// Whether a token is a JWT. Own tokens have no dots.
fn is_jwt(token: &str) -> bool {
    token.contains('.')
}

async fn check_jwt(provider: &Jwt, token: &str, now: Timestamp) -> Result<ValidJwt> {
    match provider.verify(token, now).await {
        Ok(valid) => Ok(valid),
        Err(Refused::Invalid(reason)) => {
            tracing::debug!(reason, "a JWT was refused");
            Err(Error::unauthenticated())
        }
        Err(failed @ Refused::NoKeys(_)) => Err(Error::unavailable("the server cannot check tokens now", failed)),
    }
}

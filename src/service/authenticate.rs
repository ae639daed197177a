//! Who a token belongs to.
//!
//! Owns the check of a bearer token. What the database said of a token is believed for two seconds, so that a client that
//! asks again and again costs one look-up and not one per request; a revoked token is useless everywhere within that
//! time, and at once in the process that revoked it. When a token was last used is gathered in memory and written by the
//! sweep, so that a status read writes nothing.

use std::{
    collections::HashMap,
    num::NonZeroUsize,
    sync::{Mutex, MutexGuard, PoisonError},
};

use chrono::TimeDelta;
use lru::LruCache;
use uuid::Uuid;

use super::Service;
use crate::{
    domain::{Principal, Sha256Digest, Timestamp},
    error::{Error, Result},
};

/// How long an answer of the database is believed.
const BELIEVED: TimeDelta = TimeDelta::seconds(2);
/// Tokens that are remembered; the one that was not used for the longest time goes first.
const MOST_REMEMBERED: NonZeroUsize = NonZeroUsize::new(10_000).unwrap();

/// The tokens that are in use.
#[derive(Debug)]
pub(super) struct Tokens(Mutex<State>);

#[derive(Debug)]
struct State {
    /// Valid tokens by their hash. There are no others: who guesses must not push out who knows.
    remembered: LruCache<Sha256Digest, Remembered>,
    /// When each was used since the last sweep, to within [`BELIEVED`].
    used: HashMap<Uuid, Timestamp>,
}

#[derive(Debug)]
struct Remembered {
    principal: Principal,
    expires_at: Option<Timestamp>,
    asked_at: Timestamp,
}

impl Default for Tokens {
    fn default() -> Self {
        Self(Mutex::new(State { remembered: LruCache::new(MOST_REMEMBERED), used: HashMap::new() }))
    }
}

impl Tokens {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn remembered(&self, hash: &Sha256Digest, now: Timestamp) -> Option<Principal> {
        let mut state = self.state();
        let known = state.remembered.get(hash)?;
        // A clock that was set back says nothing about how old the answer is.
        let is_fresh = known.asked_at <= now && now < known.asked_at + BELIEVED;
        (is_fresh && known.expires_at.is_none_or(|expiry| now < expiry)).then(|| known.principal.clone())
    }

    fn remember(&self, hash: Sha256Digest, token: Remembered) {
        let mut state = self.state();
        state.used.insert(token.principal.token_id, token.asked_at);
        state.remembered.put(hash, token);
    }

    /// Asks the database anew when this token comes next.
    pub(super) fn forget(&self, id: Uuid) {
        let mut state = self.state();
        let of_token = state.remembered.iter().find(|(_, known)| known.principal.token_id == id).map(|(hash, _)| *hash);
        of_token.map(|hash| state.remembered.pop(&hash));
    }
}

impl Service {
    /// The caller that this token proves.
    ///
    /// # Errors
    /// `UNAUTHENTICATED` if it is unknown, expired or revoked.
    pub async fn authenticate(&self, token: &str) -> Result<Principal> {
        let (hash, now) = (Sha256Digest::of(token.as_bytes()), self.clock.now());
        if let Some(principal) = self.tokens.remembered(&hash, now) {
            return Ok(principal);
        }
        let (principal, expires_at) = self.db.principal(&hash, now).await?.ok_or_else(Error::unauthenticated)?;
        self.tokens.remember(hash, Remembered { principal: principal.clone(), expires_at, asked_at: now });
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

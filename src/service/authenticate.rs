//! Who a token belongs to.
//!
//! Owns the check of a bearer token. When a token was last used is gathered in memory and written by the sweep, so that
//! a status read writes nothing.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};

use uuid::Uuid;

use super::Service;
use crate::{
    domain::{Principal, Sha256Digest, Timestamp},
    error::{Error, Result},
};

/// When tokens were used since the last sweep.
#[derive(Debug, Default)]
pub(super) struct TokenUses(Mutex<HashMap<Uuid, Timestamp>>);

impl Service {
    /// The caller that this token proves.
    ///
    /// # Errors
    /// `UNAUTHENTICATED` if it is unknown, expired or revoked.
    pub async fn authenticate(&self, token: &str) -> Result<Principal> {
        let now = self.clock.now();
        let found = self.db.principal(&Sha256Digest::of(token.as_bytes()), now).await?;
        let principal = found.ok_or_else(Error::unauthenticated)?;
        self.token_uses.0.lock().unwrap_or_else(PoisonError::into_inner).insert(principal.token_id, now);
        Ok(principal)
    }

    pub(super) async fn flush_token_uses(&self) -> Result<()> {
        let used = std::mem::take(&mut *self.token_uses.0.lock().unwrap_or_else(PoisonError::into_inner));
        if !used.is_empty() {
            self.db.note_token_use(&used.into_iter().collect::<Vec<_>>()).await?;
        }
        Ok(())
    }
}

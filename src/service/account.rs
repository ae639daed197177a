//! Accounts: what owners use, and their limits.
//!
//! Owns the use cases that show an account and set the limits of one owner. Only the command line sets limits. Does not own
//! the check of the limits: the transaction that creates a session does that (`db/accounts`).

use super::Service;
use crate::{
    db::OwnLimits,
    domain::{Account, OwnerName, Principal},
    error::{Error, Result},
};

/// A new value of a limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NewLimit {
    /// The limit of the settings.
    Default,
    /// This limit; `u64::MAX` is no limit.
    Own(u64),
}

impl NewLimit {
    fn stored(self) -> Option<u64> {
        match self {
            Self::Default => None,
            Self::Own(limit) => Some(limit),
        }
    }
}

impl Service {
    /// The caller's account.
    pub async fn account(&self, principal: &Principal) -> Result<Account> {
        Ok(self.db.account(&principal.owner, &self.limits.of_accounts()).await?)
    }

    /// All accounts, in the order of the owners' names.
    pub async fn accounts(&self) -> Result<Vec<Account>> {
        Ok(self.db.accounts(&self.limits.of_accounts()).await?)
    }

    /// Sets limits of an owner, who need not have a token yet. A limit that is `None` stays. Files and sessions that exist stay,
    /// even if they exceed the new limit.
    ///
    /// # Errors
    /// `INVALID_INPUT` if the name is invalid.
    pub async fn set_limits(
        &self,
        owner: &str,
        max_bytes: Option<NewLimit>,
        max_open_sessions: Option<NewLimit>,
    ) -> Result<Account> {
        let owner = OwnerName::parse(owner).ok_or_else(Error::invalid_owner)?;
        let before = self.db.own_limits(&owner).await?;
        let limits = OwnLimits {
            max_bytes: max_bytes.map_or(before.max_bytes, NewLimit::stored),
            max_open_sessions: max_open_sessions.map_or(before.max_open_sessions, NewLimit::stored),
        };
        self.db.set_limits(&owner, limits).await?;
        Ok(self.db.account(&owner, &self.limits.of_accounts()).await?)
    }
}

//! Accounts: what owners use, and their limits.
//!
//! Owns the use cases that show an account and set the limits of one owner. Only the command line sets limits. Does not own
//! the check of the limits: the transaction that creates a session does that (`db/accounts`).

use super::{Service, scope};
use crate::{
    db::NewLimit,
    domain::{Account, OwnerName, Principal},
    error::{Error, Result},
};

impl Service {
    /// The caller's account.
    pub async fn account(&self, principal: &Principal) -> Result<Account> {
        Ok(self.db.account(scope::everything(principal)?, &self.limits.of_accounts()).await?)
    }

    /// All accounts, in the order of the owners' names.
    pub async fn accounts(&self) -> Result<Vec<Account>> {
        Ok(self.db.accounts(&self.limits.of_accounts()).await?)
    }

    /// Sets limits of an owner, who need not have a token yet. A limit that is not given stays. Files and sessions that exist stay,
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
        self.db.set_limits(&owner, max_bytes, max_open_sessions).await?;
        Ok(self.db.account(&owner, &self.limits.of_accounts()).await?)
    }
}

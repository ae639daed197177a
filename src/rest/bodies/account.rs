//! The JSON body of an account.

use serde::Serialize;
use utoipa::ToSchema;

use crate::domain::Account;

/// What the caller uses, and may use.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Account)]
pub(in crate::rest) struct AccountBody {
    owner: String,
    /// The sum of the declared sizes of open and stored files.
    bytes_used: u64,
    /// What `bytes_used` may become; null without a limit.
    #[schema(required)]
    bytes_limit: Option<u64>,
    open_sessions: u64,
}

impl From<Account> for AccountBody {
    fn from(account: Account) -> Self {
        Self {
            owner: account.owner.to_string(),
            bytes_used: account.bytes_used,
            bytes_limit: account.bytes_limit,
            open_sessions: account.open_sessions,
        }
    }
}

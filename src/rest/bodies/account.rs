//! The JSON body of an account.

use serde::Serialize;

use crate::domain::Account;

/// `GET /me`.
#[derive(Debug, Serialize)]
pub(in crate::rest) struct AccountBody {
    owner: String,
    bytes_used: u64,
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

//! `Viewer`.

use async_graphql::SimpleObject;

use crate::{domain::Account, graphql::scalars::BigInt};

/// What you use, and how much you may use.
#[derive(SimpleObject)]
pub(crate) struct Viewer {
    /// The owner to whom your token belongs.
    owner: String,
    /// The sizes of your files that are uploading or stored, in bytes.
    bytes_used: BigInt,
    /// The maximum of `bytesUsed`; null if there is none.
    bytes_limit: Option<BigInt>,
    /// How many of your sessions are open.
    open_sessions: i32,
}

impl From<Account> for Viewer {
    fn from(account: Account) -> Self {
        Self {
            owner: account.owner.to_string(),
            bytes_used: BigInt(account.bytes_used),
            bytes_limit: account.bytes_limit.map(BigInt),
            open_sessions: i32::try_from(account.open_sessions).unwrap_or(i32::MAX),
        }
    }
}

//! The use cases, one file each.
//!
//! Owns what Partway does: it puts the rules of the domain, the database and the bytes together, and is the only place
//! that does. Both protocols call the methods of [`Service`], so they cannot differ in meaning. Knows nothing of HTTP
//! or GraphQL. Every method that touches an owner's things takes the [`Principal`](crate::domain::Principal) first.

mod abort;
mod authenticate;
mod check;
mod claims;
mod create;
mod download;
mod finalize;
mod list;
mod prefix_hash;
mod receive;
mod status;
pub use sweep::Swept;
mod sweep;
mod token;

use std::sync::Arc;

pub use check::Report;
pub use create::{CreateSession, Creation};
pub use download::Content;
pub use list::{Direction, SessionList, SessionQuery};
pub use receive::{Disposition, IncomingPart, Receipt};
pub use status::SessionView;
pub use token::{CreatedToken, Token};

use crate::{config::Limits, db::Db, domain::Clock, storage::LocalDisk, telemetry::Metrics};

/// Everything Partway can do.
pub struct Service {
    db: Db,
    storage: LocalDisk,
    clock: Arc<dyn Clock>,
    limits: Limits,
    metrics: Arc<Metrics>,
    claims: claims::Claims,
    prefix_hashes: prefix_hash::PrefixHashes,
    token_uses: authenticate::TokenUses,
}

impl std::fmt::Debug for Service {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Service").finish_non_exhaustive()
    }
}

impl Service {
    /// A service over this database and these bytes.
    pub fn new(db: Db, storage: LocalDisk, clock: Arc<dyn Clock>, limits: Limits, metrics: Arc<Metrics>) -> Self {
        Self {
            db,
            storage,
            clock,
            limits,
            metrics,
            claims: claims::Claims::default(),
            prefix_hashes: prefix_hash::PrefixHashes::default(),
            token_uses: authenticate::TokenUses::default(),
        }
    }

    /// Whether database and storage can be reached.
    pub async fn ready(&self) -> crate::error::Result<()> {
        self.db.ping().await?;
        Ok(self.storage.ping().await?)
    }

    /// The counters.
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// How many database statements have been run.
    pub fn statements(&self) -> u64 {
        self.db.statements()
    }
}

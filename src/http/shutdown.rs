//! Whether the server wants new requests.
//!
//! Owns the moment at which the server begins to close, which a load balancer sees at `/ready`. That is earlier than the
//! stop: in between the server still takes requests.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use tokio_util::sync::CancellationToken;

/// Turns red before the server stops, so that a load balancer chooses another server.
#[derive(Clone, Debug, Default)]
pub struct Readiness {
    closing: CancellationToken,
    was_asked: Arc<AtomicBool>,
}

impl Readiness {
    /// Whether the server is about to stop. Records that `/ready` was asked.
    pub fn is_closing(&self) -> bool {
        self.was_asked.store(true, Ordering::Relaxed);
        self.closing.is_cancelled()
    }

    /// Fires when the server wants no more requests.
    pub(super) fn closing(&self) -> &CancellationToken {
        &self.closing
    }

    /// Whether `/ready` was ever asked: without a load balancer there is nothing to wait for.
    pub(super) fn was_asked(&self) -> bool {
        self.was_asked.load(Ordering::Relaxed)
    }
}

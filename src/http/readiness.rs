//! Whether new requests are wanted.
//!
//! Owns the flag that a load balancer sees at `/ready`, and whether one has ever asked.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

/// Turns red before the server stops, so that a load balancer looks elsewhere.
#[derive(Clone, Debug, Default)]
pub struct Readiness(Arc<Flags>);

#[derive(Debug, Default)]
struct Flags {
    is_stopping: AtomicBool,
    was_asked: AtomicBool,
}

impl Readiness {
    /// Asks for no more requests.
    pub fn stop(&self) {
        self.0.is_stopping.store(true, Ordering::Relaxed);
    }

    /// Whether the server is about to stop. Records that `/ready` was asked.
    pub fn is_stopping(&self) -> bool {
        self.0.was_asked.store(true, Ordering::Relaxed);
        self.0.is_stopping.load(Ordering::Relaxed)
    }

    /// Whether `/ready` was ever asked: without a load balancer there is nothing to wait for.
    pub(super) fn was_asked(&self) -> bool {
        self.0.was_asked.load(Ordering::Relaxed)
    }
}

//! Whether new requests are wanted.
//!
//! Owns the flag that a balancer sees at `/ready`, and whether there is anybody who looks.

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

    /// Whether the server is about to stop. Notes that somebody asks.
    pub fn is_stopping(&self) -> bool {
        self.0.was_asked.store(true, Ordering::Relaxed);
        self.0.is_stopping.load(Ordering::Relaxed)
    }

    /// Whether anybody has ever asked: without a balancer there is nobody to wait for.
    pub(super) fn was_asked(&self) -> bool {
        self.0.was_asked.load(Ordering::Relaxed)
    }
}

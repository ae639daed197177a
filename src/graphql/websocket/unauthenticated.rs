//! Sockets that have not authenticated yet.
//!
//! Owns how many there may be. The server always accepts a new one and closes the oldest to make room, so that a client
//! that only opens sockets cannot keep out clients that authenticate.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio_util::sync::CancellationToken;

const MAX_SOCKETS: usize = 256;

#[derive(Clone, Debug, Default)]
pub(super) struct UnauthenticatedSockets(Arc<Mutex<Entries>>);

#[derive(Debug, Default)]
struct Entries {
    last_number: u64,
    /// By age, with the token that evicts each.
    sockets: BTreeMap<u64, CancellationToken>,
}

/// A socket's entry, until this is dropped.
#[derive(Debug)]
pub(super) struct Unauthenticated {
    sockets: UnauthenticatedSockets,
    number: u64,
    /// Fires when the socket must make room.
    pub(super) evicted: CancellationToken,
}

impl UnauthenticatedSockets {
    pub(super) fn enter(&self) -> Unauthenticated {
        let mut entries = self.entries();
        if entries.sockets.len() >= MAX_SOCKETS
            && let Some((_, oldest)) = entries.sockets.pop_first()
        {
            oldest.cancel();
        }
        entries.last_number += 1;
        let (number, evicted) = (entries.last_number, CancellationToken::new());
        entries.sockets.insert(number, evicted.clone());
        Unauthenticated { sockets: self.clone(), number, evicted }
    }

    fn entries(&self) -> MutexGuard<'_, Entries> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Unauthenticated {
    fn drop(&mut self) {
        self.sockets.entries().sockets.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_makes_room_and_one_that_has_left_needs_none() {
        let sockets = UnauthenticatedSockets::default();
        let mut entered: Vec<_> = (0..MAX_SOCKETS).map(|_| sockets.enter()).collect();
        drop(entered.remove(7));
        let _in_its_place = sockets.enter();
        assert!(!entered[0].evicted.is_cancelled());
        let _over = sockets.enter();
        assert!(entered[0].evicted.is_cancelled() && !entered[1].evicted.is_cancelled());
        drop(entered);
        assert_eq!(sockets.entries().sockets.len(), 2);
    }
}

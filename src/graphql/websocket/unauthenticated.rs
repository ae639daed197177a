//! Sockets that have not authenticated yet.
//!
//! Owns their number. The server always accepts a new one, and at [`MAX_SOCKETS`] evicts the oldest. So a client that only
//! opens sockets cannot keep out clients that authenticate. Does not own how long they may stay so: that is `INIT_TIMEOUT`
//! in `connection`.

use std::{collections::BTreeMap, sync::Arc};

use parking_lot::{Mutex, MutexGuard};
use tokio_util::sync::CancellationToken;

const MAX_SOCKETS: usize = 256;

#[derive(Clone, Debug, Default)]
pub(super) struct UnauthenticatedSockets(Arc<Mutex<Entries>>);

#[derive(Debug, Default)]
struct Entries {
    last_number: u64,
    /// The eviction token of each socket, the oldest first.
    sockets: BTreeMap<u64, CancellationToken>,
}

/// A socket's entry. Dropping it removes it.
#[derive(Debug)]
pub(super) struct Unauthenticated {
    sockets: UnauthenticatedSockets,
    number: u64,
    /// Cancelled when the server evicts the socket.
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
        self.0.lock()
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
    fn a_new_socket_evicts_the_oldest_one_only_at_the_limit() {
        let sockets = UnauthenticatedSockets::default();
        let mut entered: Vec<_> = (0..MAX_SOCKETS).map(|_| sockets.enter()).collect();
        drop(entered.remove(7));
        let _replacement = sockets.enter();
        assert!(!entered[0].evicted.is_cancelled());
        let _over_limit = sockets.enter();
        assert!(entered[0].evicted.is_cancelled() && !entered[1].evicted.is_cancelled());
        drop(entered);
        assert_eq!(sockets.entries().sockets.len(), 2);
    }
}

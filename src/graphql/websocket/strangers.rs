//! Sockets that have not authenticated yet.
//!
//! Owns how many there may be. A new one is always accepted: the oldest is closed to make room, so that a client that
//! only opens sockets cannot keep out clients that authenticate.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio_util::sync::CancellationToken;

const MOST: usize = 256;

#[derive(Clone, Debug, Default)]
pub(super) struct Strangers(Arc<Mutex<Known>>);

#[derive(Debug, Default)]
struct Known {
    last_number: u64,
    /// By age, and how each is told to make room.
    sockets: BTreeMap<u64, CancellationToken>,
}

/// A socket's place among them, until this is dropped.
#[derive(Debug)]
pub(super) struct Stranger {
    strangers: Strangers,
    number: u64,
    /// Fires when it is to make room.
    pub(super) makes_room: CancellationToken,
}

impl Strangers {
    pub(super) fn enter(&self) -> Stranger {
        let mut known = self.known();
        if known.sockets.len() >= MOST
            && let Some((_, oldest)) = known.sockets.pop_first()
        {
            oldest.cancel();
        }
        known.last_number += 1;
        let (number, makes_room) = (known.last_number, CancellationToken::new());
        known.sockets.insert(number, makes_room.clone());
        Stranger { strangers: self.clone(), number, makes_room }
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Stranger {
    fn drop(&mut self) {
        self.strangers.known().sockets.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_makes_room_and_who_has_left_needs_none() {
        let strangers = Strangers::default();
        let mut entered: Vec<_> = (0..MOST).map(|_| strangers.enter()).collect();
        drop(entered.remove(7));
        let _in_its_place = strangers.enter();
        assert!(!entered[0].makes_room.is_cancelled());
        let _over = strangers.enter();
        assert!(entered[0].makes_room.is_cancelled() && !entered[1].makes_room.is_cancelled());
        drop(entered);
        assert_eq!(strangers.known().sockets.len(), 2);
    }
}

//! Who may write a part right now.
//!
//! Owns the rule for two requests that bring the same part at once: the newer one takes over, because the older one is
//! most often a connection that died unnoticed. Bytes are written in place, so the newer one has to wait until the older
//! one's last write has ended. In memory and of this process alone; the storage's lock keeps other processes away.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio_util::sync::CancellationToken;

use crate::domain::SessionId;

type Key = (SessionId, u32);

/// All parts that are being written.
#[derive(Clone, Debug, Default)]
pub(super) struct Claims(Arc<Mutex<HashMap<Key, Slot>>>);

#[derive(Debug)]
struct Slot {
    turn: Arc<tokio::sync::Mutex<()>>,
    newest: CancellationToken,
    claimants: usize,
}

/// The right to write a part, until it is dropped.
#[derive(Debug)]
pub(super) struct Claim {
    entry: Entry,
    _turn: tokio::sync::OwnedMutexGuard<()>,
}

/// One claimant's share in a slot.
#[derive(Debug)]
struct Entry {
    claims: Claims,
    key: Key,
    superseded: CancellationToken,
}

impl Claims {
    /// Takes a part over from whoever has it and waits until they have stopped writing. `None` if, while waiting, a yet
    /// newer request took over from this one.
    pub(super) async fn take(&self, session: SessionId, part_number: u32) -> Option<Claim> {
        let (entry, turn) = self.enter((session, part_number));
        tokio::select! {
            biased;
            () = entry.superseded.cancelled() => None,
            turn = turn.lock_owned() => Some(Claim { entry, _turn: turn }),
        }
    }

    fn enter(&self, key: Key) -> (Entry, Arc<tokio::sync::Mutex<()>>) {
        let superseded = CancellationToken::new();
        let mut slots = self.slots();
        let slot = slots.entry(key).or_insert_with(|| Slot {
            turn: Arc::default(),
            newest: CancellationToken::new(),
            claimants: 0,
        });
        slot.claimants += 1;
        std::mem::replace(&mut slot.newest, superseded.clone()).cancel();
        (Entry { claims: self.clone(), key, superseded }, Arc::clone(&slot.turn))
    }

    fn slots(&self) -> MutexGuard<'_, HashMap<Key, Slot>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Claim {
    /// Fires when a newer request wants the part.
    pub(super) fn superseded(&self) -> CancellationToken {
        self.entry.superseded.clone()
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        let mut slots = self.claims.slots();
        if let Some(slot) = slots.get_mut(&self.key) {
            slot.claimants -= 1;
            if slot.claimants == 0 {
                slots.remove(&self.key);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn session() -> SessionId {
        SessionId(uuid::Uuid::nil())
    }

    #[tokio::test]
    async fn the_newer_request_waits_for_the_older_to_stop() {
        let claims = Claims::default();
        let older = claims.take(session(), 1).await.unwrap();
        let newer = tokio::spawn({
            let claims = claims.clone();
            async move { claims.take(session(), 1).await }
        });
        older.superseded().cancelled().await;
        assert!(!newer.is_finished());
        drop(older);
        assert!(newer.await.unwrap().is_some());
        assert!(claims.slots().is_empty(), "nothing is kept of parts that nobody writes");
    }

    #[tokio::test]
    async fn of_three_the_one_in_the_middle_never_writes() {
        let claims = Claims::default();
        let first = claims.take(session(), 1).await.unwrap();
        let (middle, turn) = claims.enter((session(), 1));
        let (last, _) = claims.enter((session(), 1));
        middle.superseded.cancelled().await;
        assert!(!last.superseded.is_cancelled());
        drop((first, middle, turn, last));
        assert!(claims.slots().is_empty());
    }

    #[tokio::test]
    async fn different_parts_do_not_meet() {
        let claims = Claims::default();
        let one = claims.take(session(), 1).await.unwrap();
        let _two = claims.take(session(), 2).await.unwrap();
        assert!(!one.superseded().is_cancelled());
    }
}

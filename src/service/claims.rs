//! Claims: which request may write a part.
//!
//! Owns the rule for two requests of this process that send the same part at once. The newer request takes over,
//! because the older one is usually on a dead connection that the server has not detected yet. Bytes are written in
//! place, so the newer request waits until the last write of the older one has ended. Does not exclude other processes:
//! one process locks a local folder, and for an object store `persist` takes a lease in the database.

use std::{collections::HashMap, sync::Arc};

use parking_lot::{Mutex, MutexGuard};
use tokio_util::sync::CancellationToken;

use crate::domain::SessionId;

type Key = (SessionId, u32);

/// All parts that requests are writing.
#[derive(Clone, Debug, Default)]
pub(super) struct Claims(Arc<Mutex<HashMap<Key, Slot>>>);

#[derive(Debug)]
struct Slot {
    turn: Arc<tokio::sync::Mutex<()>>,
    newest: CancellationToken,
    claimants: usize,
}

/// The right to write a part. Dropping it releases the part.
#[derive(Debug)]
pub(super) struct Claim {
    entry: Entry,
    _turn: tokio::sync::OwnedMutexGuard<()>,
}

/// One request's entry in a slot. Dropping it removes the slot once no request needs it.
#[derive(Debug)]
struct Entry {
    claims: Claims,
    key: Key,
    superseded: CancellationToken,
}

impl Claims {
    /// Claims a part: supersedes the request that has it and waits until that one has stopped writing. `None` if a newer
    /// request supersedes this one while it waits.
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
        self.0.lock()
    }
}

impl Claim {
    /// Fires when a newer request claims the part.
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
        assert!(claims.slots().is_empty(), "a part that no request writes needs no slot");
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

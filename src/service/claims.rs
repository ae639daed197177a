//! Claims: which request may write a part, or append to a session.
//!
//! Owns the rule for two requests of this process that send the same part, or append to the same session, at once. The newer request takes over,
//! because the older one is usually on a dead connection that the server has not detected yet. Bytes are written in
//! place, so the newer request waits until the last write of the older one has ended. Does not exclude other processes:
//! one process locks a local folder, and for an object store `persist` takes a lease in the database.

use std::{collections::HashMap, sync::Arc};

use parking_lot::{Mutex, MutexGuard};
use tokio_util::sync::CancellationToken;

use crate::domain::SessionId;

type Key = (SessionId, u32);

/// All parts that requests are writing. A `T` is what a request leaves for the one that takes over from it.
#[derive(Debug)]
pub(super) struct Claims<T = ()>(Arc<Mutex<HashMap<Key, Slot<T>>>>);

#[derive(Debug)]
struct Slot<T> {
    turn: Arc<tokio::sync::Mutex<T>>,
    newest: CancellationToken,
    claimants: usize,
}

/// The right to write a part. Dropping it releases the part.
#[derive(Debug)]
pub(super) struct Claim<T: Default = ()> {
    entry: Entry<T>,
    turn: tokio::sync::OwnedMutexGuard<T>,
}

/// One request's entry in a slot. Dropping it removes the slot once no request needs it.
#[derive(Debug)]
struct Entry<T> {
    claims: Claims<T>,
    key: Key,
    superseded: CancellationToken,
}

impl<T> Clone for Claims<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T> Default for Claims<T> {
    fn default() -> Self {
        Self(Arc::default())
    }
}

impl<T: Default> Claims<T> {
    /// Claims a part: supersedes the request that has it and waits until that one has stopped writing. `None` if a newer
    /// request supersedes this one while it waits.
    pub(super) async fn take(&self, session: SessionId, part_number: u32) -> Option<Claim<T>> {
        let (entry, turn) = self.enter((session, part_number));
        tokio::select! {
            biased;
            () = entry.superseded.cancelled() => None,
            turn = turn.lock_owned() => Some(Claim { entry, turn }),
        }
    }

    fn enter(&self, key: Key) -> (Entry<T>, Arc<tokio::sync::Mutex<T>>) {
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
}

impl<T> Claims<T> {
    fn slots(&self) -> MutexGuard<'_, HashMap<Key, Slot<T>>> {
        self.0.lock()
    }
}

impl<T: Default> Claim<T> {
    /// What the request before left, and this one leaves for the next.
    pub(super) fn left(&self) -> &T {
        &self.turn
    }

    /// Fires when a newer request claims the part.
    pub(super) fn superseded(&self) -> CancellationToken {
        self.entry.superseded.clone()
    }
}

impl<T> Drop for Entry<T> {
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
        let claims = Claims::<()>::default();
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
        let claims = Claims::<()>::default();
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
        let claims = Claims::<()>::default();
        let one = claims.take(session(), 1).await.unwrap();
        let _two = claims.take(session(), 2).await.unwrap();
        assert!(!one.superseded().is_cancelled());
    }
}

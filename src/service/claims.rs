//! Claims: which request may write a part, or append to a session.
//!
//! Owns the rule for two requests of this process that send the same part, or append to the same session, at once. The
//! newer request takes over, because the older one is usually on a dead connection that the server has not detected yet. Bytes are written in
//! place, so the newer request waits until the last write of the older one has ended. Does not exclude other processes:
//! one process locks a local folder, and for an object store `persist` takes a lease in the database.

use std::{collections::HashMap, sync::Arc};

use parking_lot::{Mutex, MutexGuard};
use tokio_util::sync::CancellationToken;

use crate::domain::SessionId;

type Key = (SessionId, u32);

/// All claims of this process. A `T` is what the requests for the same part or session share.
#[derive(Debug)]
pub(super) struct Claims<T = ()>(Arc<Mutex<HashMap<Key, Slot<T>>>>);

#[derive(Debug)]
struct Slot<T> {
    turn: Arc<tokio::sync::Mutex<()>>,
    shared: Arc<T>,
    newest: CancellationToken,
    seats: usize,
}

/// A request that may claim a part or a session.
#[derive(Debug)]
pub(super) struct Seat<T = ()> {
    claims: Claims<T>,
    key: Key,
    turn: Arc<tokio::sync::Mutex<()>>,
    shared: Arc<T>,
    superseded: CancellationToken,
}

/// The right to write. Dropping it releases the part or the session.
#[derive(Debug)]
pub(super) struct Claim<T = ()> {
    seat: Seat<T>,
    _turn: tokio::sync::OwnedMutexGuard<()>,
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
        let seat = self.join(session, part_number);
        seat.supersede();
        seat.wait().await
    }

    /// Joins the requests for a part. Claims nothing yet.
    pub(super) fn join(&self, session: SessionId, part_number: u32) -> Seat<T> {
        let key = (session, part_number);
        let mut slots = self.slots();
        let slot = slots.entry(key).or_insert_with(|| Slot {
            turn: Arc::default(),
            shared: Arc::default(),
            newest: CancellationToken::new(),
            seats: 0,
        });
        slot.seats += 1;
        let (turn, shared) = (Arc::clone(&slot.turn), Arc::clone(&slot.shared));
        Seat { claims: self.clone(), key, turn, shared, superseded: CancellationToken::new() }
    }
}

impl<T> Claims<T> {
    fn slots(&self) -> MutexGuard<'_, HashMap<Key, Slot<T>>> {
        self.0.lock()
    }
}

impl<T> Seat<T> {
    /// What the requests for this part share.
    pub(super) fn shared(&self) -> Arc<T> {
        Arc::clone(&self.shared)
    }

    /// Tells the request that has the part, or waits for it, to stop.
    pub(super) fn supersede(&self) {
        if let Some(slot) = self.claims.slots().get_mut(&self.key) {
            std::mem::replace(&mut slot.newest, self.superseded.clone()).cancel();
        }
    }

    /// Waits until the superseded request has stopped writing. `None` if a newer request supersedes this one meanwhile.
    pub(super) async fn wait(self) -> Option<Claim<T>> {
        tokio::select! {
            biased;
            () = self.superseded.cancelled() => None,
            turn = Arc::clone(&self.turn).lock_owned() => Some(Claim { seat: self, _turn: turn }),
        }
    }
}

impl<T> Claim<T> {
    /// Fires when a newer request claims the part.
    pub(super) fn superseded(&self) -> CancellationToken {
        self.seat.superseded.clone()
    }
}

impl<T> Drop for Seat<T> {
    fn drop(&mut self) {
        let mut slots = self.claims.slots();
        if let Some(slot) = slots.get_mut(&self.key) {
            slot.seats -= 1;
            if slot.seats == 0 {
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
        let [middle, last] = [(); 2].map(|()| claims.join(session(), 1));
        middle.supersede();
        last.supersede();
        middle.superseded.cancelled().await;
        assert!(!last.superseded.is_cancelled());
        drop((first, middle, last));
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

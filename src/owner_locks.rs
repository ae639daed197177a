//! One lock for each owner.
//!
//! Owns the locks that tasks of this process hold or wait for, and their order: the tasks of one owner get its lock in the order
//! of their calls. Does not exclude other processes.

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Weak},
};

use parking_lot::Mutex;
use tokio::sync::OwnedMutexGuard;

use crate::domain::OwnerName;

/// The locks of all owners.
#[derive(Default)]
pub(crate) struct OwnerLocks(Mutex<HashMap<OwnerName, Weak<tokio::sync::Mutex<()>>>>);

/// The lock of an owner. Dropping it releases the lock.
pub(crate) type OwnerLock = OwnedMutexGuard<()>;

impl OwnerLocks {
    /// Waits for the lock of this owner.
    pub(crate) async fn lock(&self, owner: &OwnerName) -> OwnerLock {
        let own = {
            let mut owners = self.0.lock();
            // Removes the locks that nobody has any more.
            owners.retain(|_, lock| lock.strong_count() > 0);
            let own: Arc<tokio::sync::Mutex<()>> = owners.get(owner).and_then(Weak::upgrade).unwrap_or_default();
            owners.insert(owner.clone(), Arc::downgrade(&own));
            own
        };
        own.lock_owned().await
    }
}

impl fmt::Debug for OwnerLocks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OwnerLocks").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use futures_util::poll;

    use super::*;

    #[tokio::test]
    async fn the_lock_of_an_owner_excludes_only_that_owner_and_is_forgotten() {
        let (locks, [ann, bob]) = (OwnerLocks::default(), ["ann", "bob"].map(|name| OwnerName::parse(name).unwrap()));
        let held = locks.lock(&ann).await;
        let (mut first, mut second) = (Box::pin(locks.lock(&ann)), Box::pin(locks.lock(&ann)));
        assert!(poll!(&mut first).is_pending() && poll!(&mut second).is_pending());
        drop(locks.lock(&bob).await);
        drop(held);
        assert!(poll!(&mut second).is_pending(), "the first one is next");
        drop(first.await);
        drop(second.await);
        drop(locks.lock(&bob).await);
        assert_eq!(locks.0.lock().len(), 1);
    }
}

//! The memory that parts on their way to an object store may take, all together.
//!
//! A store takes a part only whole and with its digest before it, so a part is in memory while it is received and put.
//! Owns the bound on that: over it requests wait, in turn, before they read their body, and not for ever. One owner
//! gets at most half, so that the slow parts of one owner do not stop all others.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError, Weak},
    time::Duration,
};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::{
    domain::OwnerName,
    storage::{Error, Result},
};

/// Counts in KiB: a semaphore's permits are taken by the `u32`.
const UNIT_BYTES: u64 = 1024;
/// How long a request waits for its turn.
const LONGEST_WAIT: Duration = Duration::from_secs(30);

#[derive(Clone, Debug)]
pub(super) struct Memory {
    units: Arc<Semaphore>,
    total: u32,
    /// What is left of the share of each owner who has or waits for some.
    shares: Arc<Mutex<HashMap<OwnerName, Weak<Semaphore>>>>,
}

impl Memory {
    pub(super) fn new(bytes: u64) -> Self {
        let total = u32::try_from(bytes / UNIT_BYTES).unwrap_or(u32::MAX).max(1);
        Self { units: Arc::new(Semaphore::new(total as usize)), total, shares: Arc::default() }
    }

    /// Waits for so much. A part that is larger than the owner's share, or than all, takes that whole.
    ///
    /// # Errors
    /// [`Error::MemoryTimeout`]: nothing came free in time.
    pub(super) async fn take(&self, owner: &OwnerName, bytes: u64) -> Result<Taken> {
        let wanted = u32::try_from(bytes.div_ceil(UNIT_BYTES)).unwrap_or(u32::MAX);
        let taken = async {
            // The share first: a request that waits for it delays no other owner.
            let share = acquire(self.share(owner), wanted.min(self.share_units())).await;
            let permit = acquire(Arc::clone(&self.units), wanted.min(self.total)).await;
            Taken { memory: self.clone(), share, permit }
        };
        tokio::time::timeout(LONGEST_WAIT, taken).await.map_err(|_| Error::MemoryTimeout(LONGEST_WAIT))
    }

    fn share_units(&self) -> u32 {
        (self.total / 2).max(1)
    }

    fn share(&self, owner: &OwnerName) -> Arc<Semaphore> {
        let mut shares = self.shares.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(share) = shares.get(owner).and_then(Weak::upgrade) {
            return share;
        }
        shares.retain(|_, share| share.strong_count() > 0);
        let share = Arc::new(Semaphore::new(self.share_units() as usize));
        shares.insert(owner.clone(), Arc::downgrade(&share));
        share
    }
}

async fn acquire(units: Arc<Semaphore>, wanted: u32) -> OwnedSemaphorePermit {
    units.acquire_many_owned(wanted).await.expect("the semaphore is never closed")
}

/// Memory that was taken.
#[derive(Debug)]
pub(super) struct Taken {
    memory: Memory,
    share: OwnedSemaphorePermit,
    permit: OwnedSemaphorePermit,
}

impl Taken {
    /// The permit, and whether it may be held for longer than a request: only while half of all is free, so that what is
    /// held can never make requests wait for ever. It is none of the owner's share any more.
    pub(super) fn release(self) -> (OwnedSemaphorePermit, bool) {
        drop(self.share);
        let may_be_kept = self.memory.units.available_permits() >= self.memory.total as usize / 2;
        (self.permit, may_be_kept)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owner(name: &str) -> OwnerName {
        OwnerName::parse(name).unwrap()
    }

    #[tokio::test]
    async fn over_the_bound_requests_wait_and_a_part_larger_than_it_still_passes() {
        let (memory, ann) = (Memory::new(10 * UNIT_BYTES), owner("ann"));
        let first = memory.take(&owner("bob"), 6 * UNIT_BYTES).await.unwrap();
        let mut second = std::pin::pin!(memory.take(&ann, 5 * UNIT_BYTES));
        assert!(futures_util::poll!(&mut second).is_pending());
        drop(first);
        drop(second.await);
        assert_eq!(memory.take(&ann, 99 * UNIT_BYTES).await.unwrap().permit.num_permits(), 10);
    }

    #[tokio::test(start_paused = true)]
    async fn an_owner_who_holds_half_waits_in_vain_and_another_does_not() {
        let (memory, slow) = (Memory::new(10 * UNIT_BYTES), owner("slow"));
        let _held = memory.take(&slow, 5 * UNIT_BYTES).await.unwrap();
        let begun = tokio::time::Instant::now();
        let (more, other) = tokio::join!(memory.take(&slow, 5 * UNIT_BYTES), async {
            let other = memory.take(&owner("other"), 5 * UNIT_BYTES).await;
            (other, begun.elapsed())
        });
        assert!(matches!(more, Err(Error::MemoryTimeout(_))) && begun.elapsed() >= LONGEST_WAIT);
        assert!(other.0.is_ok() && other.1.is_zero());
    }

    #[tokio::test]
    async fn what_is_kept_leaves_half_to_requests() {
        let (memory, ann) = (Memory::new(10 * UNIT_BYTES), owner("ann"));
        let (first, may_be_kept) = memory.take(&ann, 5 * UNIT_BYTES).await.unwrap().release();
        assert!(may_be_kept);
        let (second, may_be_kept) = memory.take(&ann, 1).await.unwrap().release();
        assert!(!may_be_kept);
        drop((first, second));
    }
}

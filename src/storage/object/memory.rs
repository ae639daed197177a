//! The memory budget for all parts that are on their way to an object store.
//!
//! Owns the budget and its fair use. A put needs the part's whole size and digest first, so the server buffers the part while
//! it receives and puts it. If the budget is used up, requests wait in order of arrival before they read their body, for at
//! most `MAX_WAIT`. One owner can reserve at most half of the budget, so one owner's slow parts do not stop other owners. Does
//! not own the buffers: those are in `part_writer`.

use std::{
    collections::HashMap,
    sync::{Arc, Weak},
    time::Duration,
};

use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::{
    domain::OwnerName,
    storage::{Error, Result},
};

/// The unit of a permit. One call can acquire at most `u32::MAX` permits, so a permit stands for 1 KiB.
const UNIT_BYTES: u64 = 1024;
/// How long a request waits for memory.
const MAX_WAIT: Duration = Duration::from_secs(30);

#[derive(Clone, Debug)]
pub(super) struct MemoryBudget {
    units: Arc<Semaphore>,
    total: u32,
    /// The free part of each owner's share, for owners that hold or await memory.
    shares: Arc<Mutex<HashMap<OwnerName, Weak<Semaphore>>>>,
}

impl MemoryBudget {
    pub(super) fn new(bytes: u64) -> Self {
        let total = u32::try_from(bytes / UNIT_BYTES).unwrap_or(u32::MAX).max(1);
        Self { units: Arc::new(Semaphore::new(total as usize)), total, shares: Arc::default() }
    }

    /// Reserves this many bytes, and waits if necessary. A part that is larger than the owner's share reserves the whole
    /// share, and a part that is larger than the budget reserves the whole budget.
    ///
    /// # Errors
    /// [`Error::MemoryTimeout`]: the request waited for `MAX_WAIT`.
    pub(super) async fn reserve(&self, owner: &OwnerName, bytes: u64) -> Result<Reservation> {
        let wanted = u32::try_from(bytes.div_ceil(UNIT_BYTES)).unwrap_or(u32::MAX);
        let reservation = async {
            // The share first: a request that waits for its owner's share must not hold memory that other owners need.
            let share = acquire(self.share(owner), wanted.min(self.share_units())).await;
            let permit = acquire(Arc::clone(&self.units), wanted.min(self.total)).await;
            Reservation { memory: self.clone(), share, permit }
        };
        tokio::time::timeout(MAX_WAIT, reservation).await.map_err(|_| Error::MemoryTimeout(MAX_WAIT))
    }

    pub(super) fn total_bytes(&self) -> u64 {
        u64::from(self.total) * UNIT_BYTES
    }

    fn share_units(&self) -> u32 {
        (self.total / 2).max(1)
    }

    fn share(&self, owner: &OwnerName) -> Arc<Semaphore> {
        let mut shares = self.shares.lock();
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

/// Memory that one part has reserved, until the value is dropped.
#[derive(Debug)]
pub(super) struct Reservation {
    memory: MemoryBudget,
    share: OwnedSemaphorePermit,
    permit: OwnedSemaphorePermit,
}

impl Reservation {
    /// Returns the memory to the owner's share, but keeps it reserved in the budget. The second value: whether the
    /// caller may keep the permit after the request ends. It is true only while half of the budget is free, so kept
    /// bytes cannot block requests indefinitely.
    pub(super) fn release_share(self) -> (OwnedSemaphorePermit, bool) {
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
    async fn requests_wait_while_the_budget_is_used_up_and_a_part_larger_than_the_budget_gets_all_of_it() {
        let (memory, ann) = (MemoryBudget::new(10 * UNIT_BYTES), owner("ann"));
        let first = memory.reserve(&owner("bob"), 6 * UNIT_BYTES).await.unwrap();
        let mut second = std::pin::pin!(memory.reserve(&ann, 5 * UNIT_BYTES));
        assert!(futures_util::poll!(&mut second).is_pending());
        drop(first);
        drop(second.await);
        assert_eq!(memory.reserve(&ann, 99 * UNIT_BYTES).await.unwrap().permit.num_permits(), 10);
    }

    #[tokio::test(start_paused = true)]
    async fn an_owner_that_holds_half_of_the_budget_times_out_while_another_owner_gets_memory() {
        let (memory, slow) = (MemoryBudget::new(10 * UNIT_BYTES), owner("slow"));
        let _held = memory.reserve(&slow, 5 * UNIT_BYTES).await.unwrap();
        let start = tokio::time::Instant::now();
        let (more, other) = tokio::join!(memory.reserve(&slow, 5 * UNIT_BYTES), async {
            let other = memory.reserve(&owner("other"), 5 * UNIT_BYTES).await;
            (other, start.elapsed())
        });
        assert!(matches!(more, Err(Error::MemoryTimeout(_))) && start.elapsed() >= MAX_WAIT);
        assert!(other.0.is_ok() && other.1.is_zero());
    }

    #[tokio::test]
    async fn kept_bytes_leave_half_of_the_budget_to_requests() {
        let (memory, ann) = (MemoryBudget::new(10 * UNIT_BYTES), owner("ann"));
        let (first, may_be_kept) = memory.reserve(&ann, 5 * UNIT_BYTES).await.unwrap().release_share();
        assert!(may_be_kept);
        let (second, may_be_kept) = memory.reserve(&ann, 1).await.unwrap().release_share();
        assert!(!may_be_kept);
        drop((first, second));
    }
}

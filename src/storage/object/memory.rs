//! The memory that parts on their way to an object store may take, all together.
//!
//! A store takes a part only whole and with its digest before it, so a part is in memory while it is received and put.
//! Owns the bound on that: over it requests wait, in turn, before they read their body.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Counts in KiB: a semaphore's permits are taken by the `u32`.
const UNIT_BYTES: u64 = 1024;

#[derive(Clone, Debug)]
pub(super) struct Memory {
    units: Arc<Semaphore>,
    total: u32,
}

impl Memory {
    pub(super) fn new(bytes: u64) -> Self {
        let total = u32::try_from(bytes / UNIT_BYTES).unwrap_or(u32::MAX).max(1);
        Self { units: Arc::new(Semaphore::new(total as usize)), total }
    }

    /// Waits for so much. A part that is larger than all of it takes all of it.
    pub(super) async fn take(&self, bytes: u64) -> Taken {
        let units = u32::try_from(bytes.div_ceil(UNIT_BYTES)).unwrap_or(u32::MAX).min(self.total);
        let permit = Arc::clone(&self.units).acquire_many_owned(units).await.expect("the semaphore is never closed");
        Taken { memory: self.clone(), permit }
    }
}

/// Memory that was taken.
#[derive(Debug)]
pub(super) struct Taken {
    memory: Memory,
    permit: OwnedSemaphorePermit,
}

impl Taken {
    /// The permit, and whether it may be held for longer than a request: only while half of all is free, so that what is
    /// held can never make requests wait for ever.
    pub(super) fn release(self) -> (OwnedSemaphorePermit, bool) {
        let may_be_kept = self.memory.units.available_permits() >= self.memory.total as usize / 2;
        (self.permit, may_be_kept)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn over_the_bound_requests_wait_and_a_part_larger_than_it_still_passes() {
        let memory = Memory::new(10 * UNIT_BYTES);
        let first = memory.take(6 * UNIT_BYTES).await;
        let mut second = std::pin::pin!(memory.take(5 * UNIT_BYTES));
        assert!(futures_util::poll!(&mut second).is_pending());
        drop(first);
        drop(second.await);
        assert_eq!(memory.take(99 * UNIT_BYTES).await.permit.num_permits(), 10);
    }

    #[tokio::test]
    async fn what_is_kept_leaves_half_to_requests() {
        let memory = Memory::new(10 * UNIT_BYTES);
        let (first, may_be_kept) = memory.take(5 * UNIT_BYTES).await.release();
        assert!(may_be_kept);
        let (second, may_be_kept) = memory.take(1).await.release();
        assert!(!may_be_kept);
        drop((first, second));
    }
}

//! Group commit: one sync, or one transaction, for all items that arrive while the previous one runs.
//!
//! Owns the queue and the rule: a lone item starts its batch at once; items that arrive during a batch form the next one.
//! Does not own the work of a batch: the caller passes it to [`GroupCommit::run`].

use std::fmt;

use parking_lot::Mutex;
use tokio::sync::oneshot;

/// A queue of items. The leader processes one batch at a time.
pub(crate) struct GroupCommit<T, R> {
    queue: Mutex<Vec<(T, oneshot::Sender<R>)>>,
    /// The caller that holds this lock is the leader: it runs the batch.
    leader: tokio::sync::Mutex<()>,
}

impl<T, R> Default for GroupCommit<T, R> {
    fn default() -> Self {
        Self { queue: Mutex::default(), leader: tokio::sync::Mutex::default() }
    }
}

impl<T, R> fmt::Debug for GroupCommit<T, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GroupCommit").finish_non_exhaustive()
    }
}

impl<T, R> GroupCommit<T, R> {
    /// Queues the item and waits for its result. The batch that contains the item starts after this call.
    ///
    /// The first waiting caller becomes the leader and passes all queued items to its `batch`, which returns one result per
    /// item in the same order. Returns `None` if the leader of this item's batch was cancelled or panicked.
    pub(crate) async fn run<F: Future<Output = Vec<R>>>(&self, item: T, batch: impl FnOnce(Vec<T>) -> F) -> Option<R> {
        let (sender, mut result) = oneshot::channel();
        self.queue.lock().push((item, sender));
        let leadership = tokio::select! {
            biased;
            result = &mut result => return result.ok(),
            leadership = self.leader.lock() => leadership,
        };
        let queued = std::mem::take(&mut *self.queue.lock());
        if !queued.is_empty() {
            let (items, senders): (Vec<_>, Vec<_>) = queued.into_iter().unzip();
            for (sender, result) in senders.into_iter().zip(batch(items).await) {
                // Sending fails if the item's caller was cancelled. It needs no result then.
                let _ = sender.send(result);
            }
        }
        drop(leadership);
        result.await.ok()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, atomic::AtomicUsize, atomic::Ordering};

    use tokio::sync::Semaphore;

    use super::*;

    #[tokio::test]
    async fn items_that_arrive_during_a_batch_form_the_next_one() {
        let commits = Arc::new(GroupCommit::default());
        let (batches, gate) = (Arc::new(AtomicUsize::new(0)), Arc::new(Semaphore::new(0)));
        let run = |item: u32| {
            let (commits, batches, gate) = (Arc::clone(&commits), Arc::clone(&batches), Arc::clone(&gate));
            tokio::spawn(async move {
                let batch = |items: Vec<u32>| async move {
                    batches.fetch_add(1, Ordering::Relaxed);
                    gate.acquire().await.unwrap().forget();
                    items.iter().map(|item| item * 10).collect()
                };
                commits.run(item, batch).await
            })
        };
        let first = run(1);
        while batches.load(Ordering::Relaxed) == 0 {
            tokio::task::yield_now().await;
        }
        let others: Vec<_> = (2..=9).map(&run).collect();
        while commits.queue.lock().len() < 8 {
            tokio::task::yield_now().await;
        }
        gate.add_permits(2);
        assert_eq!(first.await.unwrap(), Some(10));
        for (other, expected) in others.into_iter().zip(2..) {
            assert_eq!(other.await.unwrap(), Some(expected * 10));
        }
        assert_eq!(batches.load(Ordering::Relaxed), 2);
    }

    #[tokio::test]
    async fn the_item_of_a_caller_that_is_cancelled_while_it_waits_is_still_processed() {
        let commits = GroupCommit::<u32, u32>::default();
        let leadership = commits.leader.lock().await;
        let mut cancelled = Box::pin(commits.run(1, |_| async { unreachable!("it never became the leader") }));
        assert!(futures_util::poll!(&mut cancelled).is_pending());
        drop(cancelled);
        drop(leadership);
        assert_eq!(commits.run(2, |items| async move { items }).await, Some(2));
    }

    #[tokio::test]
    async fn a_cancelled_leader_does_not_block_the_next_batch() {
        let commits = Arc::new(GroupCommit::<u32, u32>::default());
        let mut leading = Box::pin(commits.run(1, |_| std::future::pending()));
        assert!(futures_util::poll!(&mut leading).is_pending());
        drop(leading);
        assert_eq!(commits.run(2, |items| async move { items }).await, Some(2), "the next caller leads");
    }
}

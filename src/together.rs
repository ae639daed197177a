//! Doing together what arrives together.
//!
//! Owns the rule of group commit: while one batch is under way, what comes waits, and all of it makes the next batch. So a
//! request that is alone never waits for others, and many at once share one sync or one transaction. Knows nothing of what
//! is done.

use std::{
    fmt,
    sync::{Mutex, PoisonError},
};

use tokio::sync::oneshot;

/// Items that wait for their batch.
pub struct Together<T, R> {
    waiting: Mutex<Vec<(T, oneshot::Sender<R>)>>,
    turn: tokio::sync::Mutex<()>,
}

impl<T, R> Default for Together<T, R> {
    fn default() -> Self {
        Self { waiting: Mutex::default(), turn: tokio::sync::Mutex::default() }
    }
}

impl<T, R> fmt::Debug for Together<T, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Together").finish_non_exhaustive()
    }
}

impl<T, R> Together<T, R> {
    /// Has the item done in a batch that begins after this call, and answers what became of it. `batch` does all that are
    /// waiting, in one request's name, and answers one result for each, in their order. `None` if the request in whose
    /// name it was done was given up.
    pub async fn run<F: Future<Output = Vec<R>>>(&self, item: T, batch: impl FnOnce(Vec<T>) -> F) -> Option<R> {
        let (sender, mut done) = oneshot::channel();
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).push((item, sender));
        let turn = tokio::select! {
            biased;
            done = &mut done => return done.ok(),
            turn = self.turn.lock() => turn,
        };
        let all = std::mem::take(&mut *self.waiting.lock().unwrap_or_else(PoisonError::into_inner));
        if !all.is_empty() {
            let (items, senders): (Vec<_>, Vec<_>) = all.into_iter().unzip();
            for (sender, result) in senders.into_iter().zip(batch(items).await) {
                // Who does not wait any more does not need to know.
                let _ = sender.send(result);
            }
        }
        drop(turn);
        done.await.ok()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, atomic::AtomicUsize, atomic::Ordering};

    use tokio::sync::Semaphore;

    use super::*;

    #[tokio::test]
    async fn what_comes_during_a_batch_makes_the_next_one() {
        let together = Arc::new(Together::default());
        let (batches, gate) = (Arc::new(AtomicUsize::new(0)), Arc::new(Semaphore::new(0)));
        let run = |item: u32| {
            let (together, batches, gate) = (Arc::clone(&together), Arc::clone(&batches), Arc::clone(&gate));
            tokio::spawn(async move {
                let batch = |items: Vec<u32>| async move {
                    batches.fetch_add(1, Ordering::Relaxed);
                    gate.acquire().await.unwrap().forget();
                    items.iter().map(|item| item * 10).collect()
                };
                together.run(item, batch).await
            })
        };
        let first = run(1);
        while batches.load(Ordering::Relaxed) == 0 {
            tokio::task::yield_now().await;
        }
        let others: Vec<_> = (2..=9).map(&run).collect();
        while together.waiting.lock().unwrap().len() < 8 {
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
    async fn who_gives_up_while_waiting_is_done_by_the_others() {
        let together = Together::<u32, u32>::default();
        let turn = together.turn.lock().await;
        let mut given_up = Box::pin(together.run(1, |_| async { unreachable!("it never had its turn") }));
        assert!(futures_util::poll!(&mut given_up).is_pending());
        drop(given_up);
        drop(turn);
        assert_eq!(together.run(2, |items| async move { items }).await, Some(2));
    }

    #[tokio::test]
    async fn who_waits_for_one_that_is_given_up_is_told() {
        let together = Arc::new(Together::<u32, u32>::default());
        let mut leading = Box::pin(together.run(1, |_| std::future::pending()));
        assert!(futures_util::poll!(&mut leading).is_pending());
        drop(leading);
        assert_eq!(together.run(2, |items| async move { items }).await, Some(2), "the next has its turn");
    }
}

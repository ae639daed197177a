//! Turns for writing to the database.
//!
//! Owns fairness between owners. There are as many turns as connections for writes (one on SQLite). Each owner has a
//! queue of requests, and the queues are served round-robin, one request at a time. So the wait of an owner's first
//! request does not grow with the number of requests that another owner has queued. Does not own the connections: those
//! are in `pools`.

use std::{collections::VecDeque, fmt, sync::Arc, time::Duration};

use parking_lot::{Mutex, MutexGuard};
use prometheus_client::metrics::histogram::Histogram;
use sea_orm::{ConnAcquireErr, DbErr};
use tokio::{sync::oneshot, time::Instant};

use crate::domain::OwnerName;

/// Maximum time that a request waits for a turn. It holds no connection while it waits.
pub(super) const TURN_TIMEOUT: Duration = Duration::from_secs(5);

/// The turns, and the requests that wait for one.
#[derive(Clone)]
pub(super) struct Turns {
    total: u32,
    state: Arc<Mutex<State>>,
    /// How long requests have waited, in seconds.
    wait: Histogram,
}

struct State {
    /// The number of turns that no request has.
    free: u32,
    /// The queue of each owner. The first one is served next. `None` is the server itself.
    waiting: VecDeque<(Option<OwnerName>, VecDeque<oneshot::Sender<Turn>>)>,
}

/// The right to write. Dropping it passes it on to the next request.
pub(super) struct Turn(Option<Turns>);

impl Turns {
    pub(super) fn new(turns: u32, wait: Histogram) -> Self {
        let state = Arc::new(Mutex::new(State { free: turns, waiting: VecDeque::new() }));
        Self { total: turns, state, wait }
    }

    /// The number of requests that wait.
    pub(super) fn waiting(&self) -> usize {
        self.state().waiting.iter().flat_map(|(_, waiting)| waiting).filter(|next| !next.is_closed()).count()
    }

    /// Waits for a turn in this owner's queue, or in the server's queue if `owner` is `None`.
    pub(super) async fn take(&self, owner: Option<&OwnerName>) -> Result<Turn, DbErr> {
        let mine = {
            let mut state = self.state();
            if state.free > 0 {
                state.free -= 1;
                drop(state);
                self.wait.observe(0.0);
                return Ok(Turn(Some(self.clone())));
            }
            let (sender, mine) = oneshot::channel();
            match state.waiting.iter_mut().find(|(waiting, _)| waiting.as_ref() == owner) {
                Some((_, waiting)) => waiting.push_back(sender),
                None => state.waiting.push_back((owner.cloned(), VecDeque::from([sender]))),
            }
            mine
        };
        let since = Instant::now();
        let turn = tokio::time::timeout(TURN_TIMEOUT, mine).await;
        self.wait.observe(since.elapsed().as_secs_f64());
        turn.ok().and_then(Result::ok).ok_or(DbErr::ConnectionAcquire(ConnAcquireErr::Timeout))
    }

    /// The number of turns that requests have.
    pub(super) fn taken(&self) -> u32 {
        self.total.saturating_sub(self.state().free)
    }

    /// Gives the turn to the next request. Frees it if no request waits.
    fn pass_on(self) {
        let turns = self.clone();
        let mut state = turns.state();
        let mut turn = Turn(Some(self));
        while let Some((owner, mut waiting)) = state.waiting.pop_front() {
            let Some(next) = waiting.pop_front() else { continue };
            if !waiting.is_empty() {
                state.waiting.push_back((owner, waiting));
            }
            match next.send(turn) {
                Ok(()) => return,
                // That request no longer waits.
                Err(returned) => turn = returned,
            }
        }
        turn.0 = None;
        state.free += 1;
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        if let Some(turns) = self.0.take() {
            turns.pass_on();
        }
    }
}

impl fmt::Debug for Turns {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Turns").finish_non_exhaustive()
    }
}

impl fmt::Debug for Turn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Turn").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owner(name: &str) -> OwnerName {
        OwnerName::parse(name).unwrap()
    }

    /// Queues one request for each of these owners, in this order. Returns the order in which they get a turn.
    async fn order(turns: &Turns, waiting: &[&'static str]) -> Vec<&'static str> {
        let (order, held) = (Arc::new(Mutex::new(Vec::new())), turns.take(None).await.unwrap());
        let mut takers: Vec<_> = waiting
            .iter()
            .map(|name| {
                let (turns, order) = (turns.clone(), Arc::clone(&order));
                Box::pin(async move {
                    let _turn = turns.take(Some(&owner(name))).await.unwrap();
                    order.lock().push(*name);
                })
            })
            .collect();
        for taker in &mut takers {
            assert!(futures_util::poll!(taker).is_pending());
        }
        drop(held);
        futures_util::future::join_all(takers).await;
        let order = order.lock();
        order.clone()
    }

    #[tokio::test]
    async fn owners_get_turns_round_robin() {
        let turns = Turns::new(1, Histogram::new([1.0]));
        let served = order(&turns, &["ann", "ann", "ann", "ann", "bob", "cid", "bob"]).await;
        assert_eq!(served, ["ann", "bob", "cid", "ann", "bob", "ann", "ann"]);
        assert_eq!(turns.state().free, 1);
    }

    #[tokio::test]
    async fn a_request_that_stops_waiting_takes_no_turn() {
        let turns = Turns::new(1, Histogram::new([1.0]));
        let held = turns.take(None).await.unwrap();
        let (ann, bob) = (owner("ann"), owner("bob"));
        let mut waiting = Box::pin(turns.take(Some(&ann)));
        let mut last = Box::pin(turns.take(Some(&bob)));
        assert!(futures_util::poll!(&mut waiting).is_pending());
        assert!(futures_util::poll!(&mut last).is_pending());
        assert_eq!((turns.taken(), turns.waiting()), (1, 2));
        drop(waiting);
        assert_eq!(turns.waiting(), 1);
        drop(held);
        // This request stops waiting when it has been sent a turn, but has not received it.
        drop(last);
        assert_eq!(turns.state().free, 1);
        turns.take(Some(&ann)).await.unwrap();
    }
}

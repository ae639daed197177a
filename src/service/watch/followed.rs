//! The sessions that clients follow, and the owners all of whose sessions clients follow.
//!
//! Owns which session has a reader, so a change costs one read for any number of watchers. Owns the one task
//! that listens for changes by any node, which runs while somebody follows something. Does not own the streams that
//! clients get: those are in the parent module and in `all`.

use std::{collections::HashMap, sync::Arc, time::Duration};

use parking_lot::{Mutex, MutexGuard};
use tokio::{
    sync::watch,
    time::{Instant, sleep, sleep_until},
};
use tokio_util::sync::CancellationToken;

use super::{
    reader::{LastRead, Reader, publish, version},
    search::Shared,
};
use crate::{
    db::{self, Change, Db},
    domain::{OwnerName, SessionId, SessionState},
};

/// Minimum time between two reads of a session, and between two states that a watcher gets.
pub(super) const INTERVAL: Duration = Duration::from_millis(100);
/// The pause before the server retries after an error of the database.
pub(super) const RECONNECT: Duration = Duration::from_secs(1);

/// All followed sessions and owners.
#[derive(Clone, Debug, Default)]
pub(in crate::service) struct Watchers(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    sessions: HashMap<SessionId, Followed>,
    owners: HashMap<OwnerName, FollowedOwner>,
    /// Stops the task that listens for changes. `None` while nobody follows anything.
    listening: Option<CancellationToken>,
}

#[derive(Debug)]
struct Followed {
    /// The newest version that a change has reported. The reader task ends when this sender is dropped.
    newest: watch::Sender<Option<u64>>,
    states: watch::Sender<Option<LastRead>>,
}

#[derive(Debug, Default)]
struct FollowedOwner {
    /// Reports that a session of the owner may have changed.
    changes: watch::Sender<()>,
    shared: Arc<Shared>,
}

/// One watcher of a session. When the last one of a session is dropped, the session's reader ends. When the last one of
/// all is dropped, the server stops listening for changes.
pub(super) struct Subscription {
    watchers: Watchers,
    id: SessionId,
    sender: watch::Sender<Option<LastRead>>,
    /// An `Option`, so that `drop` can drop the receiver under the lock and then count the remaining ones.
    states: Option<watch::Receiver<Option<LastRead>>>,
}

/// One watcher of all sessions of an owner.
pub(super) struct OwnerSubscription {
    watchers: Watchers,
    owner: OwnerName,
    /// An `Option` for the same reason as in [`Subscription`].
    changes: Option<watch::Receiver<()>>,
    /// What all watchers of the owner share.
    pub(super) shared: Arc<Shared>,
}

impl Watchers {
    /// Adds a watcher to a session of this owner. Starts the session's reader and the listening if they do not run yet.
    pub(super) fn subscribe(&self, db: &Db, owner: &OwnerName, id: SessionId) -> Subscription {
        let mut state = self.state();
        let followed = state.sessions.entry(id).or_insert_with(|| {
            let (newest, states) = (watch::Sender::new(None), watch::Sender::new(None));
            let (db, owner) = (db.clone(), owner.clone());
            tokio::spawn(Reader { db, owner, id, newest: newest.subscribe(), states: states.clone() }.run());
            Followed { newest, states }
        });
        let (sender, states) = (followed.states.clone(), Some(followed.states.subscribe()));
        self.start_listening(&mut state, db);
        Subscription { watchers: self.clone(), id, sender, states }
    }

    /// Follows all sessions of this owner. Reports a change at once, so that the watcher reads what happened before.
    pub(super) fn subscribe_to_owner(&self, db: &Db, owner: &OwnerName) -> OwnerSubscription {
        let mut state = self.state();
        let followed = state.owners.entry(owner.clone()).or_default();
        let (mut changes, shared) = (followed.changes.subscribe(), Arc::clone(&followed.shared));
        // Not a report, which would wake the other watchers.
        shared.count_change();
        changes.mark_changed();
        self.start_listening(&mut state, db);
        OwnerSubscription { watchers: self.clone(), owner: owner.clone(), changes: Some(changes), shared }
    }

    fn start_listening(&self, state: &mut State, db: &Db) {
        if state.listening.is_none() {
            let stop = CancellationToken::new();
            state.listening = Some(stop.clone());
            tokio::spawn(stop.run_until_cancelled_owned(self.clone().listen(db.clone())));
        }
    }

    async fn listen(self, db: Db) {
        loop {
            if let Err(error) = self.listen_once(&db).await {
                tracing::warn!(%error, "cannot listen for changes of sessions; the server retries");
            }
            sleep(RECONNECT).await;
        }
    }

    async fn listen_once(&self, db: &Db) -> db::Result<()> {
        let mut changes = db.changes().await?;
        // Sessions may have changed before the listening began.
        let mut change = Change::Any;
        loop {
            match change {
                Change::Session(id, version, owner) => {
                    self.report_versions(&[(id, version)]);
                    if let Some(followed) = self.state().owners.get(&owner) {
                        followed.report();
                    }
                }
                Change::Any => {
                    let followed: Vec<_> = {
                        let state = self.state();
                        state.owners.values().for_each(FollowedOwner::report);
                        state.sessions.keys().copied().collect()
                    };
                    self.report_versions(&db.session_versions(&followed).await?);
                }
            }
            change = changes.next().await?;
        }
    }

    /// Wakes the readers of sessions that have a newer version.
    fn report_versions(&self, versions: &[(SessionId, u64)]) {
        let state = self.state();
        for (id, version) in versions {
            let Some(session) = state.sessions.get(id) else { continue };
            session.newest.send_if_modified(|newest| {
                let is_newer = Some(*version) > *newest;
                *newest = (*newest).max(Some(*version));
                is_newer
            });
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock()
    }
}

impl Subscription {
    /// Gives a state that this watcher has read to all watchers of the session.
    pub(super) fn publish(&self, state: SessionState) {
        publish(&self.sender, Ok(state));
    }

    /// Waits for a state that is newer than the version in `last`, and for `INTERVAL` since the moment in `last`.
    /// `None` if the reader has ended.
    pub(super) async fn newer_than(&mut self, last: Option<(u64, Instant)>) -> Option<LastRead> {
        if let Some((_, at)) = last {
            sleep_until(at + INTERVAL).await;
        }
        let last = last.map(|(version, _)| version);
        let is_newer = |state: &LastRead| state.is_err() || version(state) > last;
        let next = self.states.as_mut()?.wait_for(|state| state.as_ref().is_some_and(is_newer)).await.ok()?;
        next.clone()
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        let mut state = self.watchers.state();
        // Under the lock: if the last two watchers leave at the same time, the second one counts no receivers.
        drop(self.states.take());
        if state.sessions.get(&self.id).is_some_and(|session| session.states.receiver_count() == 0) {
            state.sessions.remove(&self.id);
        }
        state.stop_listening_if_unused();
    }
}

impl State {
    fn stop_listening_if_unused(&mut self) {
        if self.sessions.is_empty()
            && self.owners.is_empty()
            && let Some(listening) = self.listening.take()
        {
            listening.cancel();
        }
    }
}

impl FollowedOwner {
    fn report(&self) {
        self.shared.count_change();
        self.changes.send_replace(());
    }
}

impl OwnerSubscription {
    /// Waits until a session of the owner may have changed since the last call.
    pub(super) async fn changed(&mut self) {
        if let Some(changes) = &mut self.changes {
            // The sender is in the map as long as there is a receiver.
            let _ = changes.changed().await;
        }
    }

    /// Makes the next call of [`changed`](Self::changed) return at once.
    pub(super) fn mark_changed(&mut self) {
        self.changes.iter_mut().for_each(watch::Receiver::mark_changed);
    }
}

impl Drop for OwnerSubscription {
    fn drop(&mut self) {
        let mut state = self.watchers.state();
        drop(self.changes.take());
        if state.owners.get(&self.owner).is_some_and(|followed| followed.changes.receiver_count() == 0) {
            state.owners.remove(&self.owner);
        }
        state.stop_listening_if_unused();
    }
}

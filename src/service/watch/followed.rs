//! The sessions that clients follow.
//!
//! Owns one reader task per followed session, so a change costs one read for any number of watchers. Owns the one task
//! that listens for changes by any node, which runs while at least one session is followed. Does not own the stream that
//! a client gets: that is the parent module.

use std::{collections::HashMap, sync::Arc, time::Duration};

use parking_lot::{Mutex, MutexGuard};
use tokio::{
    sync::watch,
    time::{Instant, sleep, sleep_until},
};
use tokio_util::sync::CancellationToken;

use super::SessionState;
use crate::{
    db::{self, Change, Db},
    domain::{OwnerName, SessionId, Upload},
    error::{Error, Result},
};

/// Minimum time between two reads of a session, and between two states that a watcher gets.
const INTERVAL: Duration = Duration::from_millis(100);
/// The pause before the server retries after an error of the database.
const RECONNECT: Duration = Duration::from_secs(1);

/// The result of a reader's last read: a state, or an error.
type LastRead = Result<SessionState, Arc<Error>>;

/// All followed sessions.
#[derive(Clone, Debug, Default)]
pub(in crate::service) struct Watchers(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    sessions: HashMap<SessionId, Followed>,
    /// Stops the task that listens for changes. `None` while no session is followed.
    listening: Option<CancellationToken>,
}

#[derive(Debug)]
struct Followed {
    /// The newest version that a change has reported. The reader task ends when this sender is dropped.
    newest: watch::Sender<Option<u64>>,
    states: watch::Sender<Option<LastRead>>,
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
        if state.listening.is_none() {
            let stop = CancellationToken::new();
            state.listening = Some(stop.clone());
            tokio::spawn(stop.run_until_cancelled_owned(self.clone().listen(db.clone())));
        }
        Subscription { watchers: self.clone(), id, sender, states }
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
                Change::Session(id, version) => self.report_versions(&[(id, version)]),
                Change::Any => {
                    let followed: Vec<_> = self.state().sessions.keys().copied().collect();
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
    pub(super) fn publish(&self, upload: Upload) {
        publish(&self.sender, Ok(upload.into()));
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
        if state.sessions.is_empty()
            && let Some(listening) = state.listening.take()
        {
            listening.cancel();
        }
    }
}

/// Reads a session for all its watchers.
struct Reader {
    db: Db,
    owner: OwnerName,
    id: SessionId,
    newest: watch::Receiver<Option<u64>>,
    states: watch::Sender<Option<LastRead>>,
}

impl Reader {
    /// Reads the session after each change, until it has ended or its last watcher leaves.
    async fn run(mut self) {
        loop {
            let states = &self.states;
            let is_newer = |newest: &Option<u64>| *newest > states.borrow().as_ref().and_then(version);
            if self.newest.wait_for(is_newer).await.is_err() {
                return;
            }
            let next_at = Instant::now() + INTERVAL;
            match self.read().await {
                Ok(state) => {
                    let watchers = self.states.receiver_count();
                    let version = state.session.version;
                    tracing::debug!(session.id = %self.id, version, watchers, "one read for all watchers");
                    let has_ended = !state.session.status.is_open();
                    publish(&self.states, Ok(state));
                    if has_ended {
                        return;
                    }
                }
                // The streams stay open while the database is unavailable.
                Err(error) if error.code().is_retryable() => {
                    let error = error.with_causes();
                    tracing::warn!(session.id = %self.id, error, "cannot read the session; the server retries");
                    sleep(RECONNECT).await;
                }
                Err(error) => {
                    publish(&self.states, Err(Arc::new(error)));
                    sleep(RECONNECT).await;
                }
            }
            sleep_until(next_at).await;
        }
    }

    async fn read(&self) -> Result<SessionState> {
        let found = self.db.upload(&self.owner, self.id).await?;
        found.map(SessionState::from).ok_or_else(|| Error::not_found("session"))
    }
}

/// The version of a state. `None` for an error.
fn version(read: &LastRead) -> Option<u64> {
    read.as_ref().ok().map(|state| state.session.version)
}

/// Replaces the previous state, unless that is newer. States come from the reader and from watchers that have just
/// joined.
fn publish(states: &watch::Sender<Option<LastRead>>, new: LastRead) {
    states.send_if_modified(|before| {
        let is_newer = new.is_err() || version(&new) > before.as_ref().and_then(version);
        if is_newer {
            *before = Some(new);
        }
        is_newer
    });
}

//! The sessions that are watched.
//!
//! Owns one reader for each, so that a change costs one read for any number of watchers; the listening for changes, by
//! this server or another, which goes on while anything is watched; and how much one owner watches at once.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

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

/// How often a session is read, and a watcher hears of changes, at most.
const INTERVAL: Duration = Duration::from_millis(100);
/// How long to wait before the database is asked again after it failed.
const RECONNECT: Duration = Duration::from_secs(1);

/// What a session's reader read last.
type Seen = Result<SessionState, Arc<Error>>;

/// The sessions that are watched, their watchers, and where changes are sent.
#[derive(Clone, Debug, Default)]
pub(in crate::service) struct Watchers(Arc<Mutex<Watched>>);

#[derive(Debug, Default)]
struct Watched {
    sessions: HashMap<SessionId, Followed>,
    /// Streams of each owner.
    streams: HashMap<OwnerName, u64>,
    /// Ends the listening.
    listening: Option<CancellationToken>,
}

#[derive(Debug)]
struct Followed {
    /// The version that the session is known to have; the reader ends when this is gone.
    told: watch::Sender<Option<u64>>,
    states: watch::Sender<Option<Seen>>,
}

/// A watcher's share in a session's reader. The last one ends the reading, and of the last session the listening.
pub(super) struct Joined {
    watchers: Watchers,
    id: SessionId,
    offered: watch::Sender<Option<Seen>>,
    /// Gone once it is dropped.
    states: Option<watch::Receiver<Option<Seen>>>,
}

/// One of an owner's streams.
pub(super) struct Place {
    watchers: Watchers,
    owner: OwnerName,
}

impl Watchers {
    /// Counts a stream of an owner for as long as the answer lives.
    pub(super) fn enter(&self, owner: &OwnerName, most: u64) -> Result<Place> {
        let mut watched = self.watched();
        let streams = watched.streams.entry(owner.clone()).or_default();
        if *streams >= most {
            return Err(Error::too_many_streams(most));
        }
        *streams += 1;
        Ok(Place { watchers: self.clone(), owner: owner.clone() })
    }

    /// Joins who watch this session, which is the owner's, or begins to.
    pub(super) fn join(&self, db: &Db, owner: &OwnerName, id: SessionId) -> Joined {
        let mut watched = self.watched();
        let followed = watched.sessions.entry(id).or_insert_with(|| {
            let (told, states) = (watch::Sender::new(None), watch::Sender::new(None));
            let (db, owner) = (db.clone(), owner.clone());
            tokio::spawn(Reader { db, owner, id, told: told.subscribe(), states: states.clone() }.run());
            Followed { told, states }
        });
        let (offered, states) = (followed.states.clone(), Some(followed.states.subscribe()));
        if watched.listening.is_none() {
            let stop = CancellationToken::new();
            watched.listening = Some(stop.clone());
            tokio::spawn(stop.run_until_cancelled_owned(self.clone().listen(db.clone())));
        }
        Joined { watchers: self.clone(), id, offered, states }
    }

    async fn listen(self, db: Db) {
        loop {
            if let Err(error) = self.listen_once(&db).await {
                tracing::warn!(%error, "cannot listen for changes; trying again");
            }
            sleep(RECONNECT).await;
        }
    }

    async fn listen_once(&self, db: &Db) -> db::Result<()> {
        let mut changes = db.changes().await?;
        // Whatever happened before.
        let mut change = Change::Any;
        loop {
            match change {
                Change::Session(id, version) => self.tell(&[(id, version)]),
                Change::Any => {
                    let watched: Vec<_> = self.watched().sessions.keys().copied().collect();
                    self.tell(&db.session_versions(&watched).await?);
                }
            }
            change = changes.next().await?;
        }
    }

    fn tell(&self, versions: &[(SessionId, u64)]) {
        let watched = self.watched();
        for (id, version) in versions {
            let Some(session) = watched.sessions.get(id) else { continue };
            session.told.send_if_modified(|told| {
                let is_news = Some(*version) > *told;
                *told = (*told).max(Some(*version));
                is_news
            });
        }
    }

    fn watched(&self) -> MutexGuard<'_, Watched> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Joined {
    /// Shares what one reader read with all watchers.
    pub(super) fn offer(&self, upload: Upload) {
        offer(&self.offered, Ok(upload.into()));
    }

    /// The first state with another version than the one seen, not too soon after that.
    pub(super) async fn newer_than(&mut self, seen: Option<(u64, Instant)>) -> Option<Seen> {
        if let Some((_, at)) = seen {
            sleep_until(at + INTERVAL).await;
        }
        let seen = seen.map(|(version, _)| version);
        let is_news = |state: &Seen| state.is_err() || version(state) > seen;
        let next = self.states.as_mut()?.wait_for(|state| state.as_ref().is_some_and(is_news)).await.ok()?;
        next.clone()
    }
}

impl Drop for Joined {
    fn drop(&mut self) {
        let mut watched = self.watchers.watched();
        // Under the lock, so that of two that go at once one sees that it is the last.
        drop(self.states.take());
        if watched.sessions.get(&self.id).is_some_and(|session| session.states.receiver_count() == 0) {
            watched.sessions.remove(&self.id);
        }
        if watched.sessions.is_empty()
            && let Some(listening) = watched.listening.take()
        {
            listening.cancel();
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut watched = self.watchers.watched();
        if let Some(streams) = watched.streams.get_mut(&self.owner) {
            *streams -= 1;
            if *streams == 0 {
                watched.streams.remove(&self.owner);
            }
        }
    }
}

/// Reads a session for all its watchers.
struct Reader {
    db: Db,
    owner: OwnerName,
    id: SessionId,
    told: watch::Receiver<Option<u64>>,
    states: watch::Sender<Option<Seen>>,
}

impl Reader {
    /// Ends with the session, or when its last watcher leaves.
    async fn run(mut self) {
        loop {
            let states = &self.states;
            let is_news = |told: &Option<u64>| *told > states.borrow().as_ref().and_then(version);
            if self.told.wait_for(is_news).await.is_err() {
                return;
            }
            let next_at = Instant::now() + INTERVAL;
            match self.read().await {
                Ok(state) => {
                    let watchers = self.states.receiver_count();
                    tracing::debug!(session.id = %self.id, version = state.session.version, watchers, "read for all");
                    let has_ended = !state.session.status.is_open();
                    offer(&self.states, Ok(state));
                    if has_ended {
                        return;
                    }
                }
                // Streams outlast a database that is away for a while.
                Err(error) if error.code().is_retryable() => {
                    tracing::warn!(session.id = %self.id, error = %error.with_causes(), "cannot be read; trying again");
                    sleep(RECONNECT).await;
                }
                Err(error) => {
                    offer(&self.states, Err(Arc::new(error)));
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

/// The version of a state that could be read.
fn version(seen: &Seen) -> Option<u64> {
    seen.as_ref().ok().map(|state| state.session.version)
}

/// Replaces what was seen before, unless that is newer: states come from several readers.
fn offer(states: &watch::Sender<Option<Seen>>, seen: Seen) {
    states.send_if_modified(|before| {
        let is_news = seen.is_err() || version(&seen) > before.as_ref().and_then(version);
        if is_news {
            *before = Some(seen);
        }
        is_news
    });
}

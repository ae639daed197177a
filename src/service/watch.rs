//! Following a session.
//!
//! Owns the stream of a session's states: the one now, then one after every change, none twice, until it has ended. A
//! watcher reads the state when it is ready for it and at most ten times a second, so a slow one misses states in between
//! and never the last. That something changed, here or on another server, is learnt from the database, and only while
//! somebody watches.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use futures_util::{Stream, stream};
use tokio::{sync::watch, time::Instant};
use tokio_util::sync::CancellationToken;

use super::{Service, SessionView};
use crate::{
    db::{Change, Db},
    domain::{Principal, SessionId},
    error::Result,
};

/// How often a watcher hears of changes at most.
const INTERVAL: Duration = Duration::from_millis(100);
/// How long to wait before the database is listened to again after it failed.
const RECONNECT: Duration = Duration::from_secs(1);

/// Tells watchers that sessions have changed.
#[derive(Clone, Debug, Default)]
pub(super) struct Watchers(Arc<Mutex<Watched>>);

#[derive(Debug, Default)]
struct Watched {
    /// The version that each is known to have now; `None` if that is to be found out.
    sessions: HashMap<SessionId, watch::Sender<Option<u64>>>,
    /// Ends the listening, which goes on while anything is watched.
    listening: Option<CancellationToken>,
}

/// A watcher's share; the last one ends the listening.
struct Subscription {
    watchers: Watchers,
    id: SessionId,
    /// Gone once it is dropped.
    versions: Option<watch::Receiver<Option<u64>>>,
}

impl Watchers {
    fn subscribe(&self, id: SessionId, db: &Db) -> Subscription {
        let mut watched = self.watched();
        let versions = watched.sessions.entry(id).or_insert_with(|| watch::Sender::new(None)).subscribe();
        if watched.listening.is_none() {
            let stop = CancellationToken::new();
            watched.listening = Some(stop.clone());
            tokio::spawn(stop.run_until_cancelled_owned(self.clone().listen(db.clone())));
        }
        Subscription { watchers: self.clone(), id, versions: Some(versions) }
    }

    async fn listen(self, db: Db) {
        loop {
            if let Err(error) = self.listen_once(&db).await {
                tracing::warn!(%error, "cannot listen for changes; trying again");
            }
            tokio::time::sleep(RECONNECT).await;
        }
    }

    async fn listen_once(&self, db: &Db) -> crate::db::Result<()> {
        let mut changes = db.changes().await?;
        // Whatever happened before is found out by reading.
        self.tell(Change::Any);
        loop {
            self.tell(changes.next().await?);
        }
    }

    fn tell(&self, change: Change) {
        let watched = self.watched();
        match change {
            Change::Session(id, version) => {
                if let Some(session) = watched.sessions.get(&id) {
                    session.send_replace(Some(version));
                }
            }
            Change::Any => {
                for session in watched.sessions.values() {
                    session.send_replace(None);
                }
            }
        }
    }

    fn watched(&self) -> MutexGuard<'_, Watched> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        let mut watched = self.watchers.watched();
        // Under the lock, so that of two that go at once one sees that it is the last.
        drop(self.versions.take());
        if watched.sessions.get(&self.id).is_some_and(|session| session.receiver_count() == 0) {
            watched.sessions.remove(&self.id);
        }
        if watched.sessions.is_empty()
            && let Some(listening) = watched.listening.take()
        {
            listening.cancel();
        }
    }
}

/// A watcher's place: what it saw last and when, and whether that was the end.
struct Watcher {
    service: Arc<Service>,
    principal: Principal,
    id: SessionId,
    subscription: Subscription,
    seen: Option<(u64, Instant)>,
    has_ended: bool,
}

impl Service {
    /// The states of a session of the caller's, from the one now to its end, or to the end of the server.
    ///
    /// # Errors
    /// `NOT_FOUND` if the caller has no such session.
    pub async fn watch(
        self: &Arc<Self>,
        principal: &Principal,
        id: SessionId,
    ) -> Result<impl Stream<Item = Result<SessionView>> + Send + use<>> {
        self.own_session(principal, id).await?;
        let watcher = Watcher {
            service: Arc::clone(self),
            principal: principal.clone(),
            id,
            subscription: self.watchers.subscribe(id, &self.db),
            seen: None,
            has_ended: false,
        };
        Ok(stream::unfold(watcher, |mut watcher| async move {
            let next = watcher.next().await?;
            Some((next, watcher))
        }))
    }
}

impl Watcher {
    async fn next(&mut self) -> Option<Result<SessionView>> {
        while !self.has_ended {
            if self.seen.is_some() {
                let service = Arc::clone(&self.service);
                service.stopping.run_until_cancelled(self.changed()).await??;
            }
            match self.service.status(&self.principal, self.id).await {
                Ok(view) if self.seen.is_some_and(|(version, _)| version == view.session.version) => {}
                Ok(view) => {
                    self.seen = Some((view.session.version, Instant::now()));
                    self.has_ended = !view.session.status.is_open();
                    return Some(Ok(view));
                }
                Err(error) => {
                    self.has_ended = true;
                    return Some(Err(error));
                }
            }
        }
        None
    }

    /// Waits until there may be something new, and until it may be read.
    async fn changed(&mut self) -> Option<()> {
        let (seen, at) = self.seen?;
        let versions = self.subscription.versions.as_mut()?;
        loop {
            versions.changed().await.ok()?;
            tokio::time::sleep_until(at + INTERVAL).await;
            let version = *versions.borrow_and_update();
            if version.is_none_or(|version| version > seen) {
                return Some(());
            }
        }
    }
}

//! Following a session.
//!
//! Owns the stream of a session's states: the one now, then one after every change, none twice, until it has ended. A
//! watcher reads the state when it is ready for it, so a slow one misses states in between and never the last.
//!
//! That something changed is learnt by asking the database for its version, ten times a second and only while somebody
//! watches: it sees changes of this process and of every other one on the same database alike.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use futures_util::{Stream, stream};
use tokio::sync::watch;

use super::{Service, SessionView};
use crate::{
    db::Db,
    domain::{Principal, SessionId},
    error::Result,
};

/// How often the database is asked, and so how often a watcher hears of changes at most.
const INTERVAL: Duration = Duration::from_millis(100);

/// Tells watchers that something in the database has changed.
#[derive(Clone, Debug)]
pub(super) struct Changes {
    signal: watch::Sender<()>,
    is_polling: Arc<Mutex<bool>>,
}

impl Default for Changes {
    fn default() -> Self {
        Self { signal: watch::Sender::new(()), is_polling: Arc::default() }
    }
}

impl Changes {
    fn subscribe(&self, db: &Db) -> watch::Receiver<()> {
        let receiver = self.signal.subscribe();
        let mut is_polling = self.is_polling.lock().unwrap_or_else(PoisonError::into_inner);
        if !std::mem::replace(&mut is_polling, true) {
            tokio::spawn(self.clone().poll(db.clone()));
        }
        receiver
    }

    async fn poll(self, db: Db) {
        let mut version = None;
        let mut ticks = tokio::time::interval(INTERVAL);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        while !self.is_over() {
            ticks.tick().await;
            match db.data_version().await {
                Ok(now) if version == Some(now) => {}
                Ok(now) => {
                    version = Some(now);
                    self.signal.send_replace(());
                }
                // Watchers learn of it by their own reads.
                Err(error) => tracing::warn!(%error, "cannot ask the database for its version"),
            }
        }
    }

    /// Whether nobody watches any more; then the next one begins anew.
    fn is_over(&self) -> bool {
        let mut is_polling = self.is_polling.lock().unwrap_or_else(PoisonError::into_inner);
        if self.signal.receiver_count() == 0 {
            *is_polling = false;
        }
        !*is_polling
    }
}

/// A watcher's place: what it saw last, and whether that was the end.
struct Watcher {
    service: Arc<Service>,
    principal: Principal,
    id: SessionId,
    changes: watch::Receiver<()>,
    seen: Option<u64>,
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
            changes: self.changes.subscribe(&self.db),
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
                tokio::select! {
                    changed = self.changes.changed() => changed.ok()?,
                    () = self.service.stopping.cancelled() => return None,
                }
            }
            match self.service.status(&self.principal, self.id).await {
                Ok(view) if self.seen == Some(view.session.version) => {}
                Ok(view) => {
                    self.seen = Some(view.session.version);
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
}

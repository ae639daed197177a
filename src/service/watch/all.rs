//! Following all sessions of an owner.
//!
//! Owns the stream of their states: first those of the open sessions, then the newer ones of any session, without an end. After
//! a change, the watcher reads the versions of the open sessions and the feed of events, so that it also gets sessions that
//! were created and ended between two reads, and files that were deleted. Reads the states only when its client takes them.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    sync::Arc,
};

use futures_util::{Stream, stream};
use tokio::time::{Instant, sleep, sleep_until};

use super::{
    SessionState,
    followed::{INTERVAL, OwnerSubscription, RECONNECT},
};
use crate::{
    domain::{OwnerName, Principal, SessionId},
    error::{Error, Result},
    service::{OpenPermit, Service, scope},
};

/// Sessions that one statement reads.
const READ_AT_ONCE: usize = 50;
/// Events that one look reads.
const EVENTS_AT_ONCE: u64 = 200;
/// A watcher spends at most one part in this many of its time on looking for changes, however many sessions are open.
const SHARE_OF_TIME: u32 = 10;

/// A new state of one of the owner's sessions.
#[derive(Clone, Debug)]
pub struct AnySessionState {
    /// The state.
    pub state: SessionState,
    /// The position in the feed of events up to which the stream has reported all ends. A stream that begins after it continues
    /// this one.
    pub position: u64,
}

struct Watcher {
    service: Arc<Service>,
    owner: OwnerName,
    changes: OwnerSubscription,
    /// The versions that the client has of the sessions whose end the feed has not reported yet.
    known: HashMap<SessionId, u64>,
    /// The changes up to this position in the feed are in `changed` or reported.
    looked_to: u64,
    reported_to: u64,
    changed: VecDeque<Changed>,
    ready: VecDeque<AnySessionState>,
    next_look: Instant,
    _permit: OpenPermit,
}

/// A session that has a new state.
struct Changed {
    id: SessionId,
    reason: Reason,
}

enum Reason {
    /// The open session has this version.
    Version(u64),
    /// The session has ended or its file was deleted, at this position in the feed.
    End(u64),
}

impl Service {
    /// The states of all of the caller's sessions: those of the open sessions, oldest first, then each newer state of any
    /// session, at most ten times per second. With `after`, the position of an earlier stream, also the sessions that have ended
    /// and the files that were deleted since. The stream does not end.
    ///
    /// # Errors
    /// `FORBIDDEN` for a narrow token. `RATE_LIMITED` if the owner has `max_streams_per_owner` streams.
    pub async fn watch_all(
        self: &Arc<Self>,
        principal: &Principal,
        after: Option<u64>,
    ) -> Result<impl Stream<Item = Result<AnySessionState>> + Send + use<>> {
        let owner = scope::everything(principal)?;
        let limit = self.limits.max_streams_per_owner;
        let permit = self.streams.permit(principal, limit).map_err(Error::too_many_streams)?;
        let changes = self.watchers.subscribe_to_owner(&self.db, owner);
        self.db.number_events(self.clock.now()).await?;
        let head = self.db.events(owner, u64::MAX, 1).await?.head;
        // A database that was restored from a backup can be behind.
        let position = after.map_or(head, |after| after.min(head));
        let watcher = Watcher {
            service: Arc::clone(self),
            owner: owner.clone(),
            changes,
            known: HashMap::new(),
            looked_to: position,
            reported_to: position,
            changed: VecDeque::new(),
            ready: VecDeque::new(),
            next_look: Instant::now(),
            _permit: permit,
        };
        Ok(stream::try_unfold(watcher, |mut watcher| async move {
            let next = watcher.next().await?;
            Ok(Some((next, watcher)))
        }))
    }
}

impl Watcher {
    async fn next(&mut self) -> Result<AnySessionState> {
        loop {
            if let Some(state) = self.ready.pop_front() {
                return Ok(state);
            }
            let step = if self.changed.is_empty() { self.look().await } else { self.read().await };
            match step {
                // The stream stays open while the database is unavailable.
                Err(error) if error.code().is_retryable() => {
                    let error = error.with_causes();
                    tracing::warn!(owner = %self.owner, error, "cannot read the owner's sessions; the server retries");
                    self.changes.mark_changed();
                    sleep(RECONNECT).await;
                }
                step => step?,
            }
        }
    }

    /// Waits for a change, and then looks which sessions have changed.
    async fn look(&mut self) -> Result<()> {
        sleep_until(self.next_look).await;
        self.changes.changed().await;
        let began = Instant::now();
        let db = &self.service.db;
        // Before the feed: a session that ends between the two reads is then in at least one of them.
        let open = db.open_versions(&self.owner).await?;
        db.number_events(self.service.clock.now()).await?;
        let page = db.events(&self.owner, self.looked_to, EVENTS_AT_ONCE).await?;
        let ends = page
            .events
            .iter()
            .filter_map(|event| Some(Changed { id: event.session_id?, reason: Reason::End(event.position?) }));
        self.changed.extend(ends);
        let ended: HashSet<SessionId> = self.changed.iter().map(|changed| changed.id).collect();
        let is_newer = |id: &_, version| self.known.get(id).is_none_or(|known| *known < version) && !ended.contains(id);
        let newer = open.into_iter().filter(|(id, version)| is_newer(id, *version));
        self.changed.extend(newer.map(|(id, version)| Changed { id, reason: Reason::Version(version) }));
        self.looked_to = page.next;
        if page.has_more {
            self.changes.mark_changed();
        }
        self.next_look = Instant::now() + INTERVAL.max(began.elapsed() * SHARE_OF_TIME);
        Ok(())
    }

    /// Reads the states of the next changed sessions.
    async fn read(&mut self) -> Result<()> {
        let count = self.changed.len().min(READ_AT_ONCE);
        let ids: Vec<SessionId> = self.changed.iter().take(count).map(|changed| changed.id).collect();
        let mut uploads = self.service.db.uploads(&self.owner, &ids).await?;
        for Changed { id, reason } in self.changed.drain(..count) {
            if let Reason::End(position) = reason {
                self.reported_to = position;
            }
            match uploads.remove(&id) {
                Some(Ok(upload)) if self.known.get(&id).is_none_or(|known| *known < upload.session.version) => {
                    self.known.insert(id, upload.session.version);
                    self.ready.push_back(AnySessionState { state: upload.into(), position: self.reported_to });
                }
                Some(Err(error)) => {
                    tracing::error!(session.id = %id, %error, "a session with an invalid row is left out of a stream");
                    if let Reason::Version(version) = reason {
                        self.known.insert(id, version);
                    }
                }
                Some(Ok(_)) | None => {}
            }
            if let Reason::End(_) = reason {
                self.known.remove(&id);
            }
        }
        if self.changed.is_empty() {
            self.reported_to = self.looked_to;
            if let Some(last) = self.ready.back_mut() {
                last.position = self.looked_to;
            }
        }
        Ok(())
    }
}

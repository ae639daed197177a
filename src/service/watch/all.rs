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
/// Events that one search reads.
const EVENTS_AT_ONCE: u64 = 200;
/// A watcher spends at most a tenth of its time searching for changes, however many sessions are open.
const PAUSE_FACTOR: u32 = 10;

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
    /// The latest version that the client has of each session. An entry is removed when the feed reports the end.
    known: HashMap<SessionId, u64>,
    /// The ends up to this position in the feed are in `changed`, or the client has them.
    found_to: u64,
    /// The client has the ends up to this position.
    reported_to: u64,
    changed: VecDeque<Changed>,
    ready: VecDeque<AnySessionState>,
    next_search: Instant,
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
    /// and the files that were deleted since. The stream does not end. Returns also the position at which the stream begins.
    ///
    /// # Errors
    /// `FORBIDDEN` for a narrow token. `RATE_LIMITED` if the owner has `max_streams_per_owner` streams.
    pub async fn watch_all(
        self: &Arc<Self>,
        principal: &Principal,
        after: Option<u64>,
    ) -> Result<(u64, impl Stream<Item = Result<AnySessionState>> + Send + use<>)> {
        let owner = scope::everything(principal)?;
        let limit = self.limits.max_streams_per_owner;
        let permit = self.streams.permit(principal, limit).map_err(Error::too_many_streams)?;
        let changes = self.watchers.subscribe_to_owner(&self.db, owner);
        self.db.number_events(self.clock.now()).await?;
        let head = self.db.events_head().await?;
        // A database that was restored from a backup can be behind.
        let position = after.map_or(head, |after| after.min(head));
        let watcher = Watcher {
            service: Arc::clone(self),
            owner: owner.clone(),
            changes,
            known: HashMap::new(),
            found_to: position,
            reported_to: position,
            changed: VecDeque::new(),
            ready: VecDeque::new(),
            next_search: Instant::now(),
            _permit: permit,
        };
        let states = stream::try_unfold(watcher, |mut watcher| async move {
            let next = watcher.next().await?;
            Ok(Some((next, watcher)))
        });
        Ok((position, states))
    }
}

impl Watcher {
    async fn next(&mut self) -> Result<AnySessionState> {
        loop {
            if let Some(state) = self.ready.pop_front() {
                return Ok(state);
            }
            let step = if self.changed.is_empty() { self.find_changes().await } else { self.read_states().await };
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

    /// Waits for a change, and then finds the sessions that have changed.
    async fn find_changes(&mut self) -> Result<()> {
        sleep_until(self.next_search).await;
        self.changes.changed().await;
        let began = Instant::now();
        let db = &self.service.db;
        // Before the feed: a session that ends between the two reads is then in at least one of them.
        let open = db.open_versions(&self.owner).await?;
        db.number_events(self.service.clock.now()).await?;
        let page = db.events(&self.owner, self.found_to, EVENTS_AT_ONCE).await?;
        let ends = page
            .events
            .iter()
            .filter_map(|event| Some(Changed { id: event.session_id?, reason: Reason::End(event.position?) }));
        self.changed.extend(ends);
        let ended: HashSet<SessionId> = self.changed.iter().map(|changed| changed.id).collect();
        let is_newer = |id: &_, version| self.known.get(id).is_none_or(|known| *known < version) && !ended.contains(id);
        let newer = open.into_iter().filter(|(id, version)| is_newer(id, *version));
        self.changed.extend(newer.map(|(id, version)| Changed { id, reason: Reason::Version(version) }));
        self.found_to = page.next;
        if page.has_more {
            self.changes.mark_changed();
        }
        self.next_search = Instant::now() + INTERVAL.max(began.elapsed() * PAUSE_FACTOR);
        Ok(())
    }

    /// Reads the states of the next changed sessions.
    async fn read_states(&mut self) -> Result<()> {
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
            self.reported_to = self.found_to;
            if let Some(last) = self.ready.back_mut() {
                last.position = self.found_to;
            }
        }
        Ok(())
    }
}

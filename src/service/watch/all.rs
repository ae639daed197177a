//! Following all sessions of an owner.
//!
//! Owns the stream of their states: first those of the open sessions, then the newer ones of any session, without an end. After
//! a change, it compares the versions of the open sessions with those that the client has, and reads the feed of events, so that it
//! also gets sessions that were created and ended meanwhile, and files that were deleted. Reads the states only when its client
//! takes them. Does not own the search for changes: that is `search`.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    sync::Arc,
};

use futures_util::{Stream, stream};
use tokio::time::sleep;

use super::{
    followed::{OwnerSubscription, RECONNECT},
    search::{EVENTS_AT_ONCE, Found},
};
use crate::{
    domain::{OwnerName, Principal, SessionId, SessionState},
    error::{Error, Result},
    service::{OpenPermit, Service, scope},
};

/// Sessions that one statement reads.
const READ_AT_ONCE: usize = 50;
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
    /// What a search has found, if the ends before it are read first.
    found: Option<Arc<Found>>,
    changed: VecDeque<Changed>,
    ready: VecDeque<AnySessionState>,
    _permit: OpenPermit,
}

/// A session that has a new state.
struct Changed {
    id: SessionId,
    reason: Reason,
}

impl Changed {
    fn end(id: SessionId, position: u64) -> Self {
        Self { id, reason: Reason::End(position) }
    }
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
    /// `FORBIDDEN` for a narrow token. `EVENTS_EXPIRED` if the feed has no longer all ends after `after`. `RATE_LIMITED` if the owner has `max_streams_per_owner` streams.
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
        if let Some(after) = after {
            self.check_feed_has(owner, after, head).await?;
        }
        let position = after.unwrap_or(head);
        let watcher = Watcher {
            service: Arc::clone(self),
            owner: owner.clone(),
            changes,
            known: HashMap::new(),
            found_to: position,
            reported_to: position,
            found: None,
            changed: VecDeque::new(),
            ready: VecDeque::new(),
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
        let found = match self.found.take() {
            Some(found) => found,
            None => self.changes.search(&self.service, &self.owner).await?,
        };
        if self.found_to < found.after {
            // The stream begins at an earlier position, or its client is slower than the searches.
            let page = self.service.db.events(&self.owner, self.found_to, EVENTS_AT_ONCE).await?;
            let ends = page.events.iter().filter_map(|event| Some((event.session_id?, event.position?)));
            self.changed.extend(ends.filter(|(_, at)| *at <= found.after).map(|(id, at)| Changed::end(id, at)));
            self.found_to = page.next.min(found.after);
            self.found = Some(found);
            return Ok(());
        }
        let ends = found.ends.iter().filter(|(_, at)| *at > self.found_to);
        self.changed.extend(ends.map(|(id, at)| Changed::end(*id, *at)));
        self.found_to = self.found_to.max(found.position);
        let ended: HashSet<SessionId> = self.changed.iter().map(|changed| changed.id).collect();
        let is_newer = |id: &_, version| self.known.get(id).is_none_or(|known| *known < version) && !ended.contains(id);
        let newer = found.open.iter().filter(|(id, version)| is_newer(id, *version));
        self.changed.extend(newer.map(|(id, version)| Changed { id: *id, reason: Reason::Version(*version) }));
        Ok(())
    }

    /// Reads the states of the next changed sessions.
    async fn read_states(&mut self) -> Result<()> {
        let count = self.changed.len().min(READ_AT_ONCE);
        let ids: Vec<SessionId> = self.changed.iter().take(count).map(|changed| changed.id).collect();
        let mut uploads = self.changes.read(&self.service, &self.owner, ids).await?;
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

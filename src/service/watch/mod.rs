//! Following a session.
//!
//! Owns the stream of a session's states: the one now, then one after every change, none twice and none older than one
//! before, until it has ended. A watcher takes a state when it is ready for it and at most ten times a second, so a slow
//! one misses states in between and never the last. Where states come from is `followed`'s.

mod followed;

use std::sync::Arc;

use futures_util::{Stream, stream};
use tokio::time::Instant;

pub(super) use self::followed::Watchers;
use self::followed::{Joined, Place};
use super::Service;
use crate::{
    domain::{FileRecord, Principal, Session, SessionId, Upload},
    error::{Error, Result},
};

/// A session and its file, shared among all who watch it.
#[derive(Clone, Debug)]
pub struct SessionState {
    /// The session.
    pub session: Arc<Session>,
    /// The file it is for.
    pub file: Arc<FileRecord>,
}

impl From<Upload> for SessionState {
    fn from(Upload { session, file }: Upload) -> Self {
        Self { session: Arc::new(session), file: Arc::new(file) }
    }
}

/// A watcher's place: what it saw last and when, and whether that was the end.
struct Watcher {
    joined: Joined,
    seen: Option<(u64, Instant)>,
    has_ended: bool,
    _place: Place,
}

impl Service {
    /// The states of a session of the caller's, from the one now to its end.
    ///
    /// # Errors
    /// `NOT_FOUND` if the caller has no such session; `RATE_LIMITED` if the caller watches too much at once.
    pub async fn watch(
        self: &Arc<Self>,
        principal: &Principal,
        id: SessionId,
    ) -> Result<impl Stream<Item = Result<SessionState, Arc<Error>>> + Send + use<>> {
        let place = self.watchers.enter(&principal.owner, self.limits.max_streams_per_owner)?;
        self.version(principal, id).await?;
        let joined = self.watchers.join(&self.db, &principal.owner, id);
        // What changes from here on is told; what changed before is read. Others may know an older state than this caller
        // has seen by other ways.
        joined.offer(self.status(principal, id).await?);
        let watcher = Watcher { joined, seen: None, has_ended: false, _place: place };
        Ok(stream::unfold(watcher, |mut watcher| async move {
            let next = watcher.next().await?;
            Some((next, watcher))
        }))
    }
}

impl Watcher {
    async fn next(&mut self) -> Option<Result<SessionState, Arc<Error>>> {
        if self.has_ended {
            return None;
        }
        let next = self.joined.newer_than(self.seen).await?;
        match &next {
            Ok(state) => {
                self.seen = Some((state.session.version, Instant::now()));
                self.has_ended = !state.session.status.is_open();
            }
            Err(_) => self.has_ended = true,
        }
        Some(next)
    }
}

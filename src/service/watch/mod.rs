//! Following a session.
//!
//! Owns the stream of a session's states: first the present one, then newer ones, until the session has ended. The
//! stream has each version at most once, in rising order, and at most ten states per second. A slow watcher misses
//! states in between, but never the last one. Owns the wait of a long poll too, which reads only the version. Does not read the
//! states: that is `reader`. Does not own the stream of all of an owner's sessions: that is `all`.

mod all;
mod followed;
mod reader;
mod search;

use std::sync::Arc;

use futures_util::{Stream, stream};
use tokio::time::{Instant, sleep};

pub use self::all::AnySessionState;
pub(super) use self::followed::Watchers;
use self::followed::{INTERVAL, Subscription};
use super::{OpenPermit, Service, scope};
use crate::{
    domain::{Principal, SessionId, SessionState},
    error::{Error, Result},
};

/// A stream under way: the version that it returned last, and whether the session has ended.
struct Watcher {
    subscription: Subscription,
    last: Option<(u64, Instant)>,
    has_ended: bool,
    _permit: OpenPermit,
}

impl Service {
    /// The states of one of the caller's sessions, from the present one on. The stream ends when the session has ended.
    ///
    /// # Errors
    /// `NOT_FOUND` if the caller has no such session. `RATE_LIMITED` if the owner has `max_streams_per_owner` streams, or the
    /// caller with a token for one upload an eighth of that.
    pub async fn watch(
        self: &Arc<Self>,
        principal: &Principal,
        id: SessionId,
    ) -> Result<impl Stream<Item = Result<SessionState, Arc<Error>>> + Send + use<>> {
        let limit = self.limits.max_streams_per_owner;
        let permit = self.streams.permit(principal, limit).map_err(Error::too_many_streams)?;
        self.version(principal, id).await?;
        let subscription = self.watchers.subscribe(&self.db, scope::session(principal, id)?, id);
        // The subscription reports changes from here on. The reader's last state may be older than one that the caller has
        // already seen, so the stream begins with a state that is read now.
        subscription.publish(self.state(principal, id).await?);
        let watcher = Watcher { subscription, last: None, has_ended: false, _permit: permit };
        Ok(stream::unfold(watcher, |mut watcher| async move {
            let next = watcher.next().await?;
            Some((next, watcher))
        }))
    }

    /// Waits until one of the caller's sessions has another version than `known`, also if it has ended: its file may be deleted.
    ///
    /// # Errors
    /// As [`watch`](Self::watch), and `UNAVAILABLE` if the database is.
    pub async fn wait_for_version_change(&self, principal: &Principal, id: SessionId, known: u64) -> Result<()> {
        let limit = self.limits.max_streams_per_owner;
        let _permit = self.streams.permit(principal, limit).map_err(Error::too_many_streams)?;
        let mut changes = self.watchers.subscribe_to_owner(&self.db, scope::session(principal, id)?);
        loop {
            changes.changed().await;
            if self.version(principal, id).await? != known {
                return Ok(());
            }
            sleep(INTERVAL).await;
        }
    }
}

impl Watcher {
    async fn next(&mut self) -> Option<Result<SessionState, Arc<Error>>> {
        if self.has_ended {
            return None;
        }
        let next = self.subscription.newer_than(self.last).await?;
        match &next {
            Ok(state) => {
                self.last = Some((state.session.version, Instant::now()));
                self.has_ended = !state.session.status.is_open();
            }
            Err(_) => self.has_ended = true,
        }
        Some(next)
    }
}

//! The reader of a followed session.
//!
//! Owns the task that reads a session after each change, once for all its watchers. Does not own when it begins and ends: that is
//! `followed`.

use std::sync::Arc;

use tokio::{
    sync::watch,
    time::{Instant, sleep, sleep_until},
};

use super::followed::{INTERVAL, RECONNECT};
use crate::{
    db::Db,
    domain::{OwnerName, SessionId, SessionState},
    error::{Error, Result},
};

/// The result of a reader's last read: a state, or an error.
pub(super) type LastRead = Result<SessionState, Arc<Error>>;

/// Reads a session for all its watchers.
pub(super) struct Reader {
    pub(super) db: Db,
    pub(super) owner: OwnerName,
    pub(super) id: SessionId,
    pub(super) newest: watch::Receiver<Option<u64>>,
    pub(super) states: watch::Sender<Option<LastRead>>,
}

impl Reader {
    /// Reads the session after each change, until it has ended or its last watcher leaves.
    pub(super) async fn run(mut self) {
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
        self.db.state(&self.owner, self.id).await?.ok_or_else(|| Error::not_found("session"))
    }
}

/// The version of a state. `None` for an error.
pub(super) fn version(read: &LastRead) -> Option<u64> {
    read.as_ref().ok().map(|state| state.session.version)
}

/// Replaces the previous state, unless that is newer. States come from the reader and from watchers that have just
/// joined.
pub(super) fn publish(states: &watch::Sender<Option<LastRead>>, new: LastRead) {
    states.send_if_modified(|before| {
        let is_newer = new.is_err() || version(&new) > before.as_ref().and_then(version);
        if is_newer {
            *before = Some(new);
        }
        is_newer
    });
}

//! The whole file's SHA-256, computed while parts land.
//!
//! Owns the running hash over the contiguous prefix of each upload, so that finalize reads only what is left. Bytes are
//! hashed a second time here (the first is the part's own digest), straight after they were written, from the page
//! cache. The state is a few hundred bytes per session in this process's memory; after a restart it is computed anew in
//! the background, from the next part on.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use sha2::Sha256;
use tokio::sync::Semaphore;

use crate::{
    domain::{Session, SessionId, Sha256Digest},
    storage::{self, LocalDisk},
};

/// How much is hashed before another session gets its turn.
const STEP_BYTES: u64 = 8 * 1024 * 1024;
/// Sessions hashed in the background at once; the rest of the machine is for receiving.
const BACKGROUND_TASKS: usize = 2;

/// The running hashes of all open uploads.
#[derive(Clone, Debug)]
pub(super) struct PrefixHashes {
    running: Arc<Mutex<HashMap<SessionId, Arc<Running>>>>,
    turns: Arc<Semaphore>,
}

type Running = tokio::sync::Mutex<State>;

#[derive(Debug, Default)]
struct State {
    hashed_bytes: u64,
    hasher: Sha256,
}

impl Default for PrefixHashes {
    fn default() -> Self {
        Self { running: Arc::default(), turns: Arc::new(Semaphore::new(BACKGROUND_TASKS)) }
    }
}

impl PrefixHashes {
    /// Goes on in the background as far as the session's prefix reaches, unless somebody is at it already: they, or the
    /// next part, or finalize, will do the rest.
    pub(super) fn advance(&self, storage: &LocalDisk, session: &Session) {
        let running = self.running(session.id);
        let target = session.plan.prefix_bytes(session.received.prefix_len());
        let (storage, session, turns) = (storage.clone(), session.clone(), Arc::clone(&self.turns));
        tokio::spawn(async move {
            let Ok(mut state) = running.try_lock() else { return };
            while state.hashed_bytes < target {
                let Ok(_turn) = turns.acquire().await else { return };
                let step = target.min(state.hashed_bytes + STEP_BYTES);
                if let Err(error) = state.advance(&storage, &session, step).await {
                    // Finalize will meet the same error and report it; an aborted session has no bytes left.
                    tracing::debug!(session.id = %session.id.0, %error, "background hashing stopped");
                    return;
                }
            }
        });
    }

    /// The SHA-256 of the whole file, whose parts have all arrived.
    pub(super) async fn finish(&self, storage: &LocalDisk, session: &Session) -> storage::Result<Sha256Digest> {
        let running = self.running(session.id);
        let mut state = running.lock().await;
        let total = session.plan.total_size_bytes();
        while state.hashed_bytes < total {
            let step = total.min(state.hashed_bytes + STEP_BYTES);
            state.advance(storage, session, step).await?;
        }
        Ok(state.hasher.clone().into())
    }

    /// Drops the state of a session that has ended.
    pub(super) fn forget(&self, session: SessionId) {
        self.map().remove(&session);
    }

    fn running(&self, session: SessionId) -> Arc<Running> {
        Arc::clone(self.map().entry(session).or_default())
    }

    fn map(&self) -> MutexGuard<'_, HashMap<SessionId, Arc<Running>>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Hashes up to `target`. The state stays as it was if that fails or is dropped in between.
    async fn advance(&mut self, storage: &LocalDisk, session: &Session, target: u64) -> storage::Result<()> {
        self.hasher = storage.hash(session, self.hasher.clone(), self.hashed_bytes..target).await?;
        self.hashed_bytes = target;
        Ok(())
    }
}

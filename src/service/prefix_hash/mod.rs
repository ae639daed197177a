//! The prefix hash: the SHA-256 of the whole file, computed while parts arrive.
//!
//! Owns a running hash over the contiguous prefix of each upload, so finalize hashes only the rest. This hashes the
//! bytes a second time; the first time is for the part's own digest. On a local disk it reads them back from the page
//! cache, right after they were written. For an object store it hashes them from memory, if the parts arrive roughly in
//! order and through this node. The state is a few hundred bytes per session and is lost with the process: a restarted
//! server hashes from the start: on a local disk in the background from the next part on, for an object store at
//! finalize. Parts that this process did not write are compared with their digests while they are read. If another
//! process wrote to the file, all parts are compared.

mod running;

use std::{
    collections::HashMap,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use parking_lot::{Mutex, MutexGuard};
use tokio::sync::Semaphore;

use self::running::{Records, Running, Source, State};
use crate::{
    db::Db,
    domain::{Part, PartRecord, PartSet, Session, SessionId, Sha256Digest},
    storage::{self, BufferedBytes, Storage},
};

/// Bytes that finalize reads in one step.
const FINISH_STEP_BYTES: u64 = 256 * 1024 * 1024;
/// How far hashing may be behind before parts wait for it: about 10 ms of hashing.
const MAX_BEHIND_BYTES: u64 = 16 * 1024 * 1024;
/// Maximum time that a part waits for hashing.
const MAX_WAIT: Duration = Duration::from_millis(500);
/// Sessions that are hashed in the background at once. The other cores receive.
const BACKGROUND_TASKS: usize = 2;

/// The running hashes of all open uploads.
#[derive(Clone, Debug)]
pub(super) struct PrefixHashes {
    running: Arc<Mutex<HashMap<SessionId, Arc<Running>>>>,
    turns: Arc<Semaphore>,
}

impl Default for PrefixHashes {
    fn default() -> Self {
        Self { running: Arc::default(), turns: Arc::new(Semaphore::new(BACKGROUND_TASKS)) }
    }
}

impl PrefixHashes {
    /// Advances the running hash in the background after a part was recorded: with its `bytes`, or else by reading the
    /// session's prefix. Waits up to `MAX_WAIT` if hashing is behind. This is back-pressure: without it, finalize would
    /// take longer the larger the file is. The wait is short because after a restart the whole prefix must be hashed
    /// again.
    pub(super) async fn advance(
        &self,
        (storage, db): (&Arc<dyn Storage>, &Db),
        session: &Session,
        part: Part,
        bytes: Option<BufferedBytes>,
    ) {
        let running = self.running(session.id);
        if let Some(bytes) = bytes {
            tokio::spawn(async move { running.state.lock().await.feed(part.offset_bytes, bytes).await });
            return;
        }
        running.own().insert(part.number);
        running.wanted.fetch_max(session.plan.prefix_bytes(session.received.prefix_len()), Ordering::AcqRel);
        let (storage, db, session) = (Arc::clone(storage), db.clone(), session.clone());
        let turns = Arc::clone(&self.turns);
        let hashing = Arc::clone(&running);
        tokio::spawn(async move {
            // A task that has the lock checks again before it ends, so it also hashes what arrived in between.
            while hashing.behind_bytes() > 0 {
                let Ok(mut state) = hashing.state.try_lock() else { return };
                let records = Records::In(&db);
                let source = Source { storage: &*storage, session: &session, records, running: &hashing };
                if let Err(error) = state.catch_up(source, &turns).await {
                    // Finalize will get the same error and report it; an aborted session has no bytes left.
                    tracing::debug!(session.id = %session.id, %error, "background hashing stopped");
                    return;
                }
            }
        });
        if running.behind_bytes() > MAX_BEHIND_BYTES {
            let _ = tokio::time::timeout(MAX_WAIT, running.state.lock()).await;
        }
    }

    /// The SHA-256 of the whole file. `parts` are all of its parts. `None` if the storage returns the remaining bytes
    /// only after the file is complete. [`storage::Error::Lost`] if the bytes do not match the recorded digests.
    pub(super) async fn finish(
        &self,
        storage: &dyn Storage,
        session: &Session,
        parts: &[PartRecord],
    ) -> storage::Result<Option<Sha256Digest>> {
        let running = self.running(session.id);
        let mut state = running.state.lock().await;
        let changed_at = match storage.as_folder() {
            Some(folder) => folder.externally_modified_at(session).await?,
            None => None,
        };
        if changed_at.is_some() && state.changed_at != changed_at {
            // The bytes may have changed after they were hashed.
            *running.own() = PartSet::new();
            *state = State::default();
            state.changed_at = changed_at;
        }
        let source = Source { storage, session, records: Records::All(parts), running: &running };
        let total = session.plan.total_size_bytes();
        while state.hashed_bytes < total {
            if !state.read(source, total, FINISH_STEP_BYTES).await? {
                return Ok(None);
            }
        }
        Ok(Some(state.hasher.clone().into()))
    }

    /// Drops the state of a session that has ended.
    pub(super) fn forget(&self, session: SessionId) {
        self.map().remove(&session);
    }

    /// The sessions that have state.
    pub(super) fn sessions(&self) -> Vec<SessionId> {
        self.map().keys().copied().collect()
    }

    /// Drops the buffered parts of sessions that received no part since the last sweep. Called by every sweep.
    pub(super) fn drop_idle_buffers(&self) {
        for running in self.map().values() {
            let Ok(mut state) = running.state.try_lock() else { continue };
            if !std::mem::take(&mut state.is_active) && !state.buffered.is_empty() {
                state.drop_buffered();
            }
        }
    }

    fn running(&self, session: SessionId) -> Arc<Running> {
        Arc::clone(self.map().entry(session).or_default())
    }

    fn map(&self) -> MutexGuard<'_, HashMap<SessionId, Arc<Running>>> {
        self.running.lock()
    }
}

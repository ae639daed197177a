//! The prefix hash: the SHA-256 of the whole file, computed while parts arrive.
//!
//! Owns a running hash over the contiguous prefix of each upload, so finalize hashes only the rest. The bytes are hashed a
//! second time here; the first is for the part's own digest. On a local disk they are read back right after they were
//! written, from the page cache. For an object store they are hashed from memory, if the parts arrive about in order and
//! through this node. The state is a few hundred bytes per session and is lost with the process: a restarted server
//! hashes anew, on a local disk in the background from the next part on, for an object store at finalize. Parts that this
//! process did not write are compared with their digests while they are read. If another process wrote to the file, all
//! parts are.

use std::{
    collections::{BTreeMap, HashMap},
    io,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, SystemTime},
};

use sha2::{Digest, Sha256};
use tokio::sync::Semaphore;

use crate::{
    db::Db,
    domain::{Part, PartRecord, PartSet, Session, SessionId, Sha256Digest},
    storage::{self, BufferedBytes, Storage},
};

/// Bytes that a background task hashes before another session gets its turn.
const STEP_BYTES: u64 = 8 * 1024 * 1024;
/// Bytes that finalize reads in one step.
const FINISH_STEP_BYTES: u64 = 256 * 1024 * 1024;
/// The largest number of parts that are compared in one step.
const MAX_COMPARED_PARTS: u64 = 1_000;
/// How far hashing may be behind before parts wait for it: about 10 ms of hashing.
const MAX_BEHIND_BYTES: u64 = 16 * 1024 * 1024;
/// The longest time that a part waits for hashing.
const MAX_WAIT: Duration = Duration::from_millis(500);
/// Sessions that are hashed in the background at once. The other cores receive.
const BACKGROUND_TASKS: usize = 2;
/// How many parts of a session stay in memory while a part before them is missing.
const MAX_BUFFERED_PARTS: usize = 8;

/// The running hashes of all open uploads.
#[derive(Clone, Debug)]
pub(super) struct PrefixHashes {
    running: Arc<Mutex<HashMap<SessionId, Arc<Running>>>>,
    turns: Arc<Semaphore>,
}

#[derive(Debug, Default)]
struct Running {
    state: tokio::sync::Mutex<State>,
    /// The prefix that has arrived, in bytes.
    wanted: AtomicU64,
    /// The prefix that is hashed, in bytes. A copy of the value in `state` that needs no lock.
    hashed: AtomicU64,
    /// The parts that this process wrote: they are hashed without a comparison with their digests.
    own: Mutex<PartSet>,
}

/// What a session's bytes and the digests of its parts are read from.
#[derive(Clone, Copy)]
struct Source<'a> {
    storage: &'a dyn Storage,
    session: &'a Session,
    records: Records<'a>,
    running: &'a Running,
}

#[derive(Clone, Copy)]
enum Records<'a> {
    /// All parts, in order.
    All(&'a [PartRecord]),
    In(&'a Db),
}

impl Running {
    fn behind_bytes(&self) -> u64 {
        self.wanted.load(Ordering::Acquire).saturating_sub(self.hashed.load(Ordering::Acquire))
    }

    fn own(&self) -> MutexGuard<'_, PartSet> {
        self.own.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Debug, Default)]
struct State {
    hashed_bytes: u64,
    hasher: Sha256,
    /// Parts that arrived before their turn, by offset.
    buffered: BTreeMap<u64, BufferedBytes>,
    /// A buffered part was dropped. From here on the bytes must be read back.
    has_gap: bool,
    /// Whether a part arrived since the last sweep.
    is_active: bool,
    /// When another process wrote to the bytes, as of the last check. Everything was hashed after it.
    changed_at: Option<SystemTime>,
}

impl Default for PrefixHashes {
    fn default() -> Self {
        Self { running: Arc::default(), turns: Arc::new(Semaphore::new(BACKGROUND_TASKS)) }
    }
}

impl PrefixHashes {
    /// Hashes in the background what a recorded part makes possible: its `bytes`, or else the session's prefix. Waits up to
    /// `MAX_WAIT` if hashing is behind. This is back-pressure: without it, finalize would take longer the larger the file
    /// is. The wait is short because after a restart everything must be hashed anew.
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

    /// The SHA-256 of the whole file. `parts` are all of its parts. `None` if the storage gives the missing bytes back only
    /// once the file is complete. [`storage::Error::Lost`] if the bytes are not those that arrived.
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
            *state = State { changed_at, ..State::default() };
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
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Source<'_> {
    /// The parts to compare from this one on: at least one, and about `step_bytes` of them.
    async fn parts_from(&self, number: u32, end: u64, step_bytes: u64) -> storage::Result<Vec<PartRecord>> {
        let limit = (step_bytes / self.session.plan.chunk_size_bytes()).clamp(1, MAX_COMPARED_PARTS);
        let mut parts = match self.records {
            Records::All(parts) => parts.iter().skip(number as usize - 1).take(limit as usize).cloned().collect(),
            Records::In(db) => db.parts(self.session, number - 1, limit).await.map_err(|error| storage::Error::Io {
                action: "read the digests of parts".to_owned(),
                source: io::Error::other(error),
            })?,
        };
        let own = self.running.own();
        let is_next = |(at, record): (usize, &PartRecord)| {
            let Part { number: found, offset_bytes, size_bytes } = record.part;
            // The first part is compared even if this process has written it since the caller looked.
            let is_others = at == 0 || !own.contains(found);
            found as usize == number as usize + at && offset_bytes + size_bytes <= end && is_others
        };
        let next = parts.iter().enumerate().take_while(|(at, record)| is_next((*at, record))).count();
        parts.truncate(next);
        if parts.is_empty() {
            return Err(storage::Error::Lost(format!("part {number} was received and has no row")));
        }
        Ok(parts)
    }
}

impl State {
    /// Hashes the prefix that has arrived, in turns with other sessions.
    async fn catch_up(&mut self, source: Source<'_>, turns: &Semaphore) -> storage::Result<()> {
        loop {
            source.running.hashed.store(self.hashed_bytes, Ordering::Release);
            let wanted = source.running.wanted.load(Ordering::Acquire);
            if wanted <= self.hashed_bytes {
                return Ok(());
            }
            // The semaphore is never closed.
            let _turn = turns.acquire().await;
            self.read(source, wanted, STEP_BYTES).await?;
        }
    }

    /// Hashes the next `step_bytes` or so, up to `end`, which is the end of a part. If parts must be compared, hashes at
    /// least one of them. False if the bytes cannot be read yet. An error or a cancellation leaves the state unchanged.
    async fn read(&mut self, source: Source<'_>, end: u64, step_bytes: u64) -> storage::Result<bool> {
        let Source { storage, session, .. } = source;
        let (plan, begin) = (session.plan, self.hashed_bytes);
        let number = u32::try_from(begin / plan.chunk_size_bytes()).unwrap_or(u32::MAX).saturating_add(1);
        let own = source.running.own().run_from(number);
        let (hasher, hashed_bytes) = if own > 0 {
            let target = end.min(begin + step_bytes).min(plan.prefix_bytes(number - 1 + own));
            (storage.hash(session, self.hasher.clone(), begin..target).await?, target)
        } else {
            let parts = source.parts_from(number, end, step_bytes).await?;
            let Some(compared) = storage.compare(session, self.hasher.clone(), &parts).await? else { return Ok(false) };
            if !compared.damaged.is_empty() {
                let problem = format!("parts {} do not have the bytes that arrived", compared.damaged);
                return Err(storage::Error::Lost(problem));
            }
            (Some(compared.hasher), parts.iter().map(|record| record.part.size_bytes).sum::<u64>() + begin)
        };
        let Some(hasher) = hasher else { return Ok(false) };
        self.hasher = hasher;
        self.hashed_bytes = hashed_bytes;
        Ok(true)
    }

    /// Hashes a part if it is the next one, and then the buffered parts that follow it.
    async fn feed(&mut self, offset: u64, bytes: BufferedBytes) {
        if offset < self.hashed_bytes {
            // The part was forgotten and sent again, maybe with other bytes.
            *self = Self { has_gap: true, ..Self::default() };
        }
        if self.has_gap {
            return;
        }
        self.is_active = true;
        self.buffered.insert(offset, bytes);
        while let Some(next) = self.buffered.remove(&self.hashed_bytes) {
            let (mut hasher, len) = (self.hasher.clone(), next.bytes.len() as u64);
            let hashed = tokio::task::spawn_blocking(move || {
                hasher.update(&next.bytes);
                hasher
            });
            let Ok(hasher) = hashed.await else { return self.drop_buffered() };
            self.hasher = hasher;
            self.hashed_bytes += len;
        }
        if self.buffered.len() > MAX_BUFFERED_PARTS || self.buffered.values().any(|bytes| !bytes.may_be_kept) {
            self.drop_buffered();
        }
    }

    fn drop_buffered(&mut self) {
        self.buffered.clear();
        self.has_gap = true;
    }
}

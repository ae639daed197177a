//! The whole file's SHA-256, computed while parts land.
//!
//! Owns the running hash over the contiguous prefix of each upload, so that finalize reads only what is left. Bytes are
//! hashed a second time here (the first is the part's own digest): on the local disk straight after they were written,
//! from the page cache; for an object store from memory, if the parts come about in order and through this server. The
//! state is a few hundred bytes per session in this process's memory; after a restart it is computed anew, on the local
//! disk in the background from the next part on, for an object store at finalize. Parts that this process did not write
//! itself are compared with their digests as they are read, and so is everything if somebody else wrote to the file.

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

/// How much is hashed before another session gets its turn.
const STEP_BYTES: u64 = 8 * 1024 * 1024;
/// How much of the rest is read in one go at finalize.
const LAST_STEP_BYTES: u64 = 256 * 1024 * 1024;
/// Most parts that are compared in one go.
const MOST_COMPARED: u64 = 1_000;
/// How far hashing may be behind before parts wait for it: some 10 ms of it.
const MOST_BEHIND_BYTES: u64 = 16 * 1024 * 1024;
/// How long they wait at most.
const LONGEST_WAIT: Duration = Duration::from_millis(500);
/// Sessions hashed in the background at once; the rest of the machine is for receiving.
const BACKGROUND_TASKS: usize = 2;
/// How many parts of a session may be kept in memory because one before them is still on its way.
const MOST_AHEAD: usize = 8;

/// The running hashes of all open uploads.
#[derive(Clone, Debug)]
pub(super) struct PrefixHashes {
    running: Arc<Mutex<HashMap<SessionId, Arc<Running>>>>,
    turns: Arc<Semaphore>,
}

#[derive(Debug, Default)]
struct Running {
    state: tokio::sync::Mutex<State>,
    /// How far the bytes are there.
    wanted: AtomicU64,
    /// How far they are hashed; the same as in the state, for those who do not have it.
    hashed: AtomicU64,
    /// The parts that this process wrote; hashed as they are read, without a look at their digests.
    own: Mutex<PartSet>,
}

/// Where a session's bytes and the digests of its parts are read from.
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
    /// Parts that came before their turn, by offset.
    ahead: BTreeMap<u64, BufferedBytes>,
    /// A part was let go; only reading the bytes back can go on from here.
    has_gap: bool,
    /// Whether a part came since the last sweep.
    is_active: bool,
    /// When somebody else wrote to the bytes; all is read since then.
    changed_at: Option<SystemTime>,
}

impl Default for PrefixHashes {
    fn default() -> Self {
        Self { running: Arc::default(), turns: Arc::new(Semaphore::new(BACKGROUND_TASKS)) }
    }
}

impl PrefixHashes {
    /// Goes on in the background with a part that was recorded: from its bytes, or else as far as the session's prefix
    /// reaches. Waits for a moment if hashing falls behind: else it would be finalize that takes longer the larger the
    /// file is. But not for long, as after a restart, when everything is to be hashed anew.
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
            // Whoever is at it looks again once they are done, so that nothing is left that came in between.
            while hashing.behind_bytes() > 0 {
                let Ok(mut state) = hashing.state.try_lock() else { return };
                let records = Records::In(&db);
                let source = Source { storage: &*storage, session: &session, records, running: &hashing };
                if let Err(error) = state.catch_up(source, &turns).await {
                    // Finalize will meet the same error and report it; an aborted session has no bytes left.
                    tracing::debug!(session.id = %session.id, %error, "background hashing stopped");
                    return;
                }
            }
        });
        if running.behind_bytes() > MOST_BEHIND_BYTES {
            let _ = tokio::time::timeout(LONGEST_WAIT, running.state.lock()).await;
        }
    }

    /// The SHA-256 of the whole file, whose parts have all arrived: these. `None` if bytes are to be read for it that can be
    /// read only when the file is complete. [`storage::Error::Lost`] if what is read is not what arrived.
    pub(super) async fn finish(
        &self,
        storage: &dyn Storage,
        session: &Session,
        parts: &[PartRecord],
    ) -> storage::Result<Option<Sha256Digest>> {
        let running = self.running(session.id);
        let mut state = running.state.lock().await;
        let changed_at = storage.changed_by_others(session).await?;
        if changed_at.is_some() && state.changed_at != changed_at {
            // What was hashed before need not be what is there now.
            *running.own() = PartSet::new();
            *state = State { changed_at, ..State::default() };
        }
        let source = Source { storage, session, records: Records::All(parts), running: &running };
        let total = session.plan.total_size_bytes();
        while state.hashed_bytes < total {
            if !state.read(source, total, LAST_STEP_BYTES).await? {
                return Ok(None);
            }
        }
        Ok(Some(state.hasher.clone().into()))
    }

    /// Drops the state of a session that has ended.
    pub(super) fn forget(&self, session: SessionId) {
        self.map().remove(&session);
    }

    /// The sessions that there is state of.
    pub(super) fn sessions(&self) -> Vec<SessionId> {
        self.map().keys().copied().collect()
    }

    /// Lets go of parts whose predecessors do not come. Called by every sweep.
    pub(super) fn let_go_of_idle(&self) {
        for running in self.map().values() {
            let Ok(mut state) = running.state.try_lock() else { continue };
            if !std::mem::take(&mut state.is_active) && !state.ahead.is_empty() {
                state.let_go();
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
    /// The parts to be compared from this one on: at least one, and about `step_bytes` of them.
    async fn parts_from(&self, number: u32, end: u64, step_bytes: u64) -> storage::Result<Vec<PartRecord>> {
        let limit = (step_bytes / self.session.plan.chunk_size_bytes()).clamp(1, MOST_COMPARED);
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
            // The first is due whatever has become of it since its bytes were looked for.
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
    /// Hashes all that is there, in turns with other sessions.
    async fn catch_up(&mut self, source: Source<'_>, turns: &Semaphore) -> storage::Result<()> {
        loop {
            source.running.hashed.store(self.hashed_bytes, Ordering::Release);
            let wanted = source.running.wanted.load(Ordering::Acquire);
            if wanted <= self.hashed_bytes {
                return Ok(());
            }
            // It is never closed.
            let _turn = turns.acquire().await;
            self.read(source, wanted, STEP_BYTES).await?;
        }
    }

    /// Hashes on, at most up to `end`, where a part ends: about `step_bytes`, or one part if that must be compared. False if
    /// it cannot be read yet. The state stays as it was if that fails or is dropped in between.
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

    /// Hashes a part if it is its turn, and then those that waited for it.
    async fn feed(&mut self, offset: u64, bytes: BufferedBytes) {
        if offset < self.hashed_bytes {
            // It was forgotten and is sent again, maybe with other bytes.
            *self = Self { has_gap: true, ..Self::default() };
        }
        if self.has_gap {
            return;
        }
        self.is_active = true;
        self.ahead.insert(offset, bytes);
        while let Some(next) = self.ahead.remove(&self.hashed_bytes) {
            let (mut hasher, len) = (self.hasher.clone(), next.bytes.len() as u64);
            let hashed = tokio::task::spawn_blocking(move || {
                hasher.update(&next.bytes);
                hasher
            });
            let Ok(hasher) = hashed.await else { return self.let_go() };
            self.hasher = hasher;
            self.hashed_bytes += len;
        }
        if self.ahead.len() > MOST_AHEAD || self.ahead.values().any(|bytes| !bytes.may_be_kept) {
            self.let_go();
        }
    }

    fn let_go(&mut self) {
        self.ahead.clear();
        self.has_gap = true;
    }
}

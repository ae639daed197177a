//! The running hash of one upload.
//!
//! Owns the hash's state, and how it advances: by bytes in memory, or by reading the bytes back. Does not own when it
//! advances: that is the parent module.

use std::{
    collections::BTreeMap,
    io,
    sync::atomic::{AtomicU64, Ordering},
    time::SystemTime,
};

use parking_lot::{Mutex, MutexGuard};
use sha2::{Digest, Sha256};
use tokio::sync::Semaphore;

use crate::{
    db::Db,
    domain::{Part, PartRecord, PartSet, Session},
    storage::{self, BufferedBytes, Storage},
};

/// Bytes that a background task hashes before another session gets its turn.
const STEP_BYTES: u64 = 8 * 1024 * 1024;
/// Maximum number of parts that are compared in one step.
const MAX_COMPARED_PARTS: u64 = 1_000;
/// Maximum number of parts of a session in memory while a part before them is missing.
const MAX_BUFFERED_PARTS: usize = 8;

#[derive(Debug, Default)]
pub(super) struct Running {
    pub(super) state: tokio::sync::Mutex<State>,
    /// The prefix that has arrived, in bytes.
    pub(super) wanted: AtomicU64,
    /// The prefix that is hashed, in bytes. A copy of the value in `state` that needs no lock.
    pub(super) hashed: AtomicU64,
    /// The parts that this process wrote: they are hashed without a comparison with their digests.
    own: Mutex<PartSet>,
}

/// The source of a session's bytes and of the digests of its parts.
#[derive(Clone, Copy)]
pub(super) struct Source<'a> {
    pub(super) storage: &'a dyn Storage,
    pub(super) session: &'a Session,
    pub(super) records: Records<'a>,
    pub(super) running: &'a Running,
}

#[derive(Clone, Copy)]
pub(super) enum Records<'a> {
    /// All parts, in order.
    All(&'a [PartRecord]),
    In(&'a Db),
}

impl Running {
    pub(super) fn behind_bytes(&self) -> u64 {
        self.wanted.load(Ordering::Acquire).saturating_sub(self.hashed.load(Ordering::Acquire))
    }

    pub(super) fn own(&self) -> MutexGuard<'_, PartSet> {
        self.own.lock()
    }
}

#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) hashed_bytes: u64,
    pub(super) hasher: Sha256,
    /// Parts that arrived before their turn, by offset.
    pub(super) buffered: BTreeMap<u64, BufferedBytes>,
    /// A buffered part was dropped. From here on the bytes must be read back.
    has_gap: bool,
    /// Whether a part arrived since the last sweep.
    pub(super) is_active: bool,
    /// When another process wrote to the bytes, as of the last check. Everything was hashed after it.
    pub(super) changed_at: Option<SystemTime>,
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
            // The first part is compared even if this process has written it after the caller's check.
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
    pub(super) async fn catch_up(&mut self, source: Source<'_>, turns: &Semaphore) -> storage::Result<()> {
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
    pub(super) async fn read(&mut self, source: Source<'_>, end: u64, step_bytes: u64) -> storage::Result<bool> {
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
    pub(super) async fn feed(&mut self, offset: u64, bytes: BufferedBytes) {
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

    pub(super) fn drop_buffered(&mut self) {
        self.buffered.clear();
        self.has_gap = true;
    }
}

//! The sweep: ends what is due, and finishes what a crash left unfinished.
//!
//! Owns the steps of the periodic sweep. Several nodes sweep one database: a conditional update ends a session, and a
//! lease decides which node frees its bytes. If that node dies, the lease expires and another node frees them.

use std::sync::Arc;

use chrono::TimeDelta;
use futures_util::{StreamExt, future::ready, stream};
use parking_lot::Mutex;
use tokio::time::Instant;
use tracing::{Instrument, field::Empty};

use super::Service;
use crate::{
    domain::{Session, SessionId, SessionStatus, StatusReason, Timestamp},
    error::{Error, Result},
    metrics::{LeaseKind, SweepOutcome, SweepResult},
    spans::span,
    storage,
};

pub(super) const BATCH: u64 = 100;
/// Duration of a freeing lease. If a node dies, another node takes over after this time.
const FREEING_LEASE: TimeDelta = TimeDelta::minutes(10);
/// Number of sessions whose bytes a sweep frees at the same time. An object store takes a while for each.
const FREED_AT_ONCE: usize = 16;

/// How many of all open sessions, uploads on disk or tails a step of the sweep looks at, so that a sweep costs the same for any number
/// of them.
const LOOKED_AT: usize = 100;

/// Where the steps go on that look at some of all open sessions. After a restart they begin again.
#[derive(Debug, Default)]
pub(super) struct SweptTo {
    /// The expiry and the id of the last session whose bytes were looked for.
    session: Mutex<Option<(Timestamp, SessionId)>>,
    tails: Mutex<Option<SessionId>>,
}

/// The results of a sweep.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Swept {
    /// Sessions that expired.
    pub expired: usize,
    /// Sessions that were finalized because they had all bytes.
    pub finalized: usize,
    /// Stored files whose retention has ended.
    pub deleted: usize,
    /// Sessions without a file whose bytes were freed.
    pub freed: usize,
    /// Sessions that failed because the storage had lost bytes of their parts.
    pub lost: usize,
    /// Uploads on disk that were removed because their session had ended, or their request had ended without a row.
    pub leftovers: usize,
    /// Sessions that ended long ago and whose part records were removed.
    pub parts_removed: u64,
}

impl Swept {
    fn results(&self) -> [(SweepResult, u64); 7] {
        let Self { expired, finalized, deleted, freed, lost, leftovers, parts_removed } = *self;
        [
            (SweepResult::Expired, expired as u64),
            (SweepResult::Finalized, finalized as u64),
            (SweepResult::Deleted, deleted as u64),
            (SweepResult::Freed, freed as u64),
            (SweepResult::Lost, lost as u64),
            (SweepResult::Leftover, leftovers as u64),
            (SweepResult::PartsRemoved, parts_removed),
        ]
    }
}

/// The steps of a sweep so far.
struct Steps(SweepOutcome);

impl Steps {
    /// The result of a step. Logs its failure.
    fn take<T: Default>(&mut self, result: Result<T>) -> T {
        logged(result).unwrap_or_else(|| {
            self.0 = SweepOutcome::Incomplete;
            T::default()
        })
    }
}

impl Service {
    /// Finalizes the sessions that are due, ends expired ones, deletes files at the end of their retention, frees bytes, fails
    /// sessions that have lost bytes, removes old events, part records and expired tokens, and records when tokens were used. If a
    /// step fails, the sweep logs it and continues with the other steps; the next sweep repeats it.
    pub async fn sweep(self: &Arc<Self>) -> Swept {
        let began = Instant::now();
        let span = span!(root "sweep", otel.status_code = Empty);
        let (swept, outcome) = self.take_steps().instrument(span.clone()).await;
        self.metrics.sweep_duration.observe(began.elapsed().as_secs_f64());
        self.metrics.sweeps.count(outcome);
        match outcome {
            SweepOutcome::Complete => drop(self.metrics.last_complete_sweep.set(self.clock.now().timestamp())),
            SweepOutcome::Incomplete => drop(span.record("otel.status_code", "ERROR")),
        }
        for (result, number) in swept.results() {
            self.metrics.swept.of(result).inc_by(number);
        }
        swept
    }

    async fn take_steps(self: &Arc<Self>) -> (Swept, SweepOutcome) {
        let mut steps = Steps(SweepOutcome::Complete);
        let finalized = steps.take(self.finalize_due().await);
        let may_expire = steps.take(self.may_expire().await);
        let (expired, deleted) = match may_expire {
            true => (steps.take(self.expire().await), steps.take(self.delete_due_files().await)),
            false => (0, 0),
        };
        let mut swept = Swept {
            finalized,
            expired,
            deleted,
            freed: steps.take(self.free_ended().await),
            lost: steps.take(self.fail_lost_uploads().await),
            leftovers: steps.take(self.remove_leftovers().await) + steps.take(self.finish_small_files().await),
            parts_removed: 0,
        };
        steps.take(self.discard_tails_of_ended().await);
        if may_expire {
            steps.take(self.drop_old_events().await);
            steps.take(self.remove_expired_upload_tokens().await);
            steps.take(self.remove_expired_download_links().await);
            swept.parts_removed = steps.take(self.remove_old_parts().await);
        }
        steps.take(self.sweep_deliveries().await);
        steps.take(self.forget_hashes().await);
        steps.take(self.flush_token_uses().await);
        self.db.close_idle().await;
        (swept, steps.0)
    }

    /// The result of a step for one session or one file. Logs and counts its failure; the next sweep tries again.
    pub(super) fn of_one<T>(&self, result: Result<T>) -> Option<T> {
        let counted = result.inspect_err(|_| self.metrics.swept.count(SweepResult::Failed));
        logged(counted)
    }

    /// Whether sessions may expire, and files, events and part records may be deleted: not for a while after a jump of the clock.
    async fn may_expire(&self) -> Result<bool> {
        let (now, ttl) = (self.clock.now(), self.limits.session_ttl);
        let interval = TimeDelta::from_std(self.limits.sweep_interval).unwrap_or(TimeDelta::MAX);
        let pause = self.db.note_expiry_pause(|pause| pause.now(now, ttl, interval)).await?;
        if !pause.is_over() && pause.seen_at == Some(now) {
            let message = "the clock jumped, or no server ran; no session expires and no file is deleted for a while";
            tracing::warn!(until = ?pause.until, "{message}");
        }
        Ok(pause.is_over())
    }

    async fn expire(&self) -> Result<usize> {
        let mut expired = 0;
        loop {
            let before = expired;
            for id in self.db.expired_sessions(self.clock.now(), BATCH).await? {
                // A part may have arrived after the sweep read the session.
                let now = self.clock.now();
                let ended = match self.end(None, id, |upload| upload.expire(now)).await {
                    Err(error) if error.is_corrupt() => {
                        self.end_unreadable(None, id, StatusReason::Expired, &error).await.map(|()| true)
                    }
                    ended => ended.map(|(_, is_first)| is_first).map_err(Error::from),
                };
                expired += usize::from(self.of_one(ended).unwrap_or_default());
            }
            if expired == before {
                return Ok(expired);
            }
        }
    }

    async fn free_ended(&self) -> Result<usize> {
        let mut freed = 0;
        loop {
            self.protect_downloads().await?;
            let (before, now) = (freed, self.clock.now());
            let sessions = self.db.sessions_to_free(now, self.free_if_deleted_until(now), BATCH).await?;
            let freeing = sessions.into_iter().map(|session| self.lease_and_free(session, now));
            freed +=
                stream::iter(freeing).buffer_unordered(FREED_AT_ONCE).filter(|is_freed| ready(*is_freed)).count().await;
            if freed == before {
                return Ok(freed);
            }
        }
    }

    /// Frees the bytes of a session, unless another node does that. Returns whether they are freed.
    pub(super) async fn lease_and_free(&self, session: Session, now: Timestamp) -> bool {
        let deleted_until = self.free_if_deleted_until(now);
        let leased = self.db.lease_to_free(session.id, now, deleted_until, now + FREEING_LEASE).await;
        match self.of_one(leased.map_err(Error::from)) {
            Some(true) => {
                let _held = self.metrics.leases.hold(LeaseKind::Freeing);
                self.of_one(self.free(&session).await).is_some()
            }
            _ => false,
        }
    }

    /// Finds lost bytes before a client does. After a restore of the database or the folder, it may take days until a
    /// client sends a part. Looks at some open sessions; the next sweep goes on after them.
    async fn fail_lost_uploads(&self) -> Result<usize> {
        if self.storage.as_folder().is_none() {
            // An object store cannot list the parts of open uploads cheaply.
            return Ok(0);
        }
        let (mut lost, after) = (0, *self.swept_to.session.lock());
        let mut found = self.db.open_sessions_after(after, LOOKED_AT as u64).await?;
        if found.is_empty() && after.is_some() {
            found = self.db.open_sessions_after(None, LOOKED_AT as u64).await?;
        }
        let is_last = found.len() < LOOKED_AT;
        let invalid = |error: &_| tracing::error!(%error, "the row of a session is invalid");
        let sessions: Vec<Session> = found.into_iter().filter_map(|read| read.inspect_err(invalid).ok()).collect();
        *self.swept_to.session.lock() = match sessions.last() {
            Some(last) if !is_last => Some((last.expires_at, last.id)),
            _ => None,
        };
        for session in sessions.iter().filter(|session| session.status == SessionStatus::InProgress) {
            if let Err(problem @ storage::Error::Lost(_)) = self.storage.check_upload(session).await {
                let failed = self.fail_lost(session, &problem, |_| true).await;
                lost += usize::from(self.of_one(failed).is_some_and(|session| session.is_some()));
            }
        }
        Ok(lost)
    }

    /// Drops the prefix hashes of sessions that ended on another node.
    async fn forget_hashes(&self) -> Result<()> {
        let ids = self.prefix_hashes.sessions();
        for ids in ids.chunks(usize::try_from(BATCH).unwrap_or(1)) {
            let open = self.db.sessions_among(ids, true).await?;
            ids.iter().filter(|id| !open.contains(id)).for_each(|id| self.prefix_hashes.forget(*id));
        }
        self.prefix_hashes.drop_idle_buffers();
        Ok(())
    }

    /// Deletes the tails of sessions that have ended. A request that was interrupted can leave one. Looks at some tails; the next
    /// sweep goes on after them.
    async fn discard_tails_of_ended(&self) -> Result<()> {
        let Some(store) = self.storage.as_multipart() else { return Ok(()) };
        let after = *self.swept_to.tails.lock();
        let ids = store.sessions_with_tails(after, LOOKED_AT).await?;
        *self.swept_to.tails.lock() = ids.last().copied().filter(|_| ids.len() == LOOKED_AT);
        for id in self.db.sessions_among(&ids, false).await? {
            store.discard_tails(id).await?;
        }
        Ok(())
    }

    /// Removes uploads whose session has ended. Uploads without a row stay: they may belong to another database, or to
    /// rows that a restore has lost. `partway check` reports them. Looks at some uploads; the next sweep goes on after them.
    async fn remove_leftovers(&self) -> Result<usize> {
        let mut removed = 0;
        let Some(folder) = self.storage.as_folder() else { return Ok(0) };
        let ids = folder.next_uploads(LOOKED_AT).await?;
        for id in self.db.sessions_among(&ids, false).await? {
            folder.discard_upload(id).await?;
            tracing::warn!(session.id = %id, "removed bytes of a session that has ended");
            removed += 1;
        }
        Ok(removed)
    }
}

fn logged<T>(result: Result<T>) -> Option<T> {
    result.inspect_err(Error::log).ok()
}

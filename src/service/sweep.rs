//! Tidying up: what expired, and what a crash left behind.
//!
//! Owns the periodic look. Each session is ended by a conditional change and claimed by another before its bytes are
//! freed, so that of several servers that sweep, one does it; a claim lapses, so that it is done if that one dies.

use chrono::TimeDelta;

use super::Service;
use crate::{
    domain::StatusReason,
    error::{Error, Result},
    storage,
};

const BATCH: u64 = 100;
/// How long a claim to free a session's bytes outlives a server that died.
const FREEING: TimeDelta = TimeDelta::minutes(10);

/// What a sweep did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Swept {
    /// Sessions that were aborted because their time was up.
    pub expired: usize,
    /// Sessions that ended without a file and whose bytes were freed.
    pub freed: usize,
    /// Sessions that failed because the bytes of their parts were gone.
    pub lost: usize,
    /// Uploads on disk whose session had ended.
    pub leftovers: usize,
}

impl Service {
    /// Aborts what has expired, frees what an earlier abort did not come to free, fails what has lost its bytes,
    /// removes bytes of ended sessions, and notes when tokens were used. What fails is logged and left for the next time; the rest goes on.
    pub async fn sweep(&self) -> Swept {
        let swept = Swept {
            expired: logged(self.expire().await).unwrap_or_default(),
            freed: logged(self.free_ended().await).unwrap_or_default(),
            lost: logged(self.fail_lost_uploads().await).unwrap_or_default(),
            leftovers: logged(self.remove_leftovers().await).unwrap_or_default(),
        };
        logged(self.forget_hashes().await);
        logged(self.flush_token_uses().await);
        swept
    }

    async fn expire(&self) -> Result<usize> {
        let (now, ttl) = (self.clock.now(), self.limits.session_ttl);
        let pause = self.db.note_expiry_pause(|pause| pause.now(now, ttl)).await?;
        if !pause.is_over() {
            if pause.seen_at == Some(now) {
                tracing::warn!(until = ?pause.until, "the clock has jumped, or no server ran: nothing expires for a while");
            }
            return Ok(0);
        }
        let mut expired = 0;
        loop {
            let before = expired;
            for id in self.db.expired_sessions(self.clock.now(), BATCH).await? {
                // A part may have arrived since the sweep looked.
                let now = self.clock.now();
                let ended = match self.end(None, id, |upload| upload.expire(now)).await {
                    Err(error) if error.is_corrupt() => {
                        self.end_unreadable(None, id, StatusReason::Expired, &error).await.map(|()| true)
                    }
                    ended => ended.map(|(_, is_first)| is_first).map_err(Error::from),
                };
                expired += usize::from(logged(ended).unwrap_or_default());
            }
            if expired == before {
                return Ok(expired);
            }
        }
    }

    async fn free_ended(&self) -> Result<usize> {
        let mut freed = 0;
        loop {
            let (before, now) = (freed, self.clock.now());
            for session in self.db.sessions_to_free(now, BATCH).await? {
                if self.db.claim_to_free(session.id, now, now + FREEING).await? {
                    freed += usize::from(logged(self.free(&session).await).is_some());
                }
            }
            if freed == before {
                return Ok(freed);
            }
        }
    }

    /// A database or a folder that was restored can lack the other's bytes; nobody may send a part for days that would
    /// notice it.
    async fn fail_lost_uploads(&self) -> Result<usize> {
        if self.storage.is_shared() {
            // It cannot be asked what it has.
            return Ok(0);
        }
        let mut lost = 0;
        for ids in self.db.sessions_with_parts().await?.chunks(usize::try_from(BATCH).unwrap_or(1)) {
            for session in self.db.open_sessions(ids).await? {
                if let Err(problem @ storage::Error::Lost(_)) = self.storage.check_upload(&session).await {
                    let failed = self.fail_lost(&session, &problem, |_| true).await;
                    lost += usize::from(logged(failed).is_some_and(|session| session.is_some()));
                }
            }
        }
        Ok(lost)
    }

    /// A session can end on another server; what this one keeps in memory for it goes then.
    async fn forget_hashes(&self) -> Result<()> {
        let ids = self.prefix_hashes.sessions();
        for ids in ids.chunks(usize::try_from(BATCH).unwrap_or(1)) {
            let open = self.db.sessions_among(ids, true).await?;
            ids.iter().filter(|id| !open.contains(id)).for_each(|id| self.prefix_hashes.forget(*id));
        }
        self.prefix_hashes.let_go_of_idle();
        Ok(())
    }

    /// The bytes of a session that has ended are never needed again. Those that no row knows may be another database's, or
    /// of rows that a restore has lost: they are left alone, and so are stored files. `partway check` reports both.
    async fn remove_leftovers(&self) -> Result<usize> {
        let mut removed = 0;
        for ids in self.storage.uploads().await?.chunks(usize::try_from(BATCH).unwrap_or(1)) {
            for id in self.db.sessions_among(ids, false).await? {
                self.storage.discard_upload(id).await?;
                tracing::warn!(session.id = %id, "removed bytes of a session that has ended");
                removed += 1;
            }
        }
        Ok(removed)
    }
}

fn logged<T>(result: Result<T>) -> Option<T> {
    result.inspect_err(Error::log).ok()
}

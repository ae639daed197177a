//! Tidying up: what expired, and what a crash left behind.
//!
//! Owns the periodic look. Each session is ended by a conditional change and claimed by another before its bytes are
//! freed, so that of several servers that sweep, one does it; a claim lapses, so that it is done if that one dies.

use chrono::TimeDelta;

use super::Service;
use crate::{
    domain::{SessionStatus, StatusReason},
    error::Result,
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
    /// Uploads on disk that no open session knew.
    pub leftovers: usize,
}

impl Service {
    /// Aborts what has expired, frees what an earlier abort did not come to free, removes bytes that belong to no open
    /// session, and notes when tokens were used. What fails is logged and left for the next time; the rest goes on.
    pub async fn sweep(&self) -> Swept {
        let swept = Swept {
            expired: logged(self.expire().await).unwrap_or_default(),
            freed: logged(self.free_ended().await).unwrap_or_default(),
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
                let ended = self.end_without_file(None, id, SessionStatus::Aborted, StatusReason::Expired, None).await;
                expired += usize::from(logged(ended).is_some_and(|(_, is_first)| is_first));
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

    /// A session can end on another server; what this one keeps in memory for it goes then.
    async fn forget_hashes(&self) -> Result<()> {
        let ids = self.prefix_hashes.sessions();
        for ids in ids.chunks(usize::try_from(BATCH).unwrap_or(1)) {
            let open = self.db.open_sessions_among(ids).await?;
            ids.iter().filter(|id| !open.contains(id)).for_each(|id| self.prefix_hashes.forget(*id));
        }
        self.prefix_hashes.let_go_of_idle();
        Ok(())
    }

    /// Rows are written before bytes, so bytes in `uploading/` without an open session are never needed again. Stored
    /// files are left alone, whatever the rows say: `partway check` reports them.
    async fn remove_leftovers(&self) -> Result<usize> {
        let mut removed = 0;
        for ids in self.storage.uploads().await?.chunks(usize::try_from(BATCH).unwrap_or(1)) {
            let open = self.db.open_sessions_among(ids).await?;
            for id in ids.iter().filter(|id| !open.contains(id)) {
                self.storage.discard_upload(*id).await?;
                tracing::warn!(session.id = %id.0, "removed bytes that belonged to no open session");
                removed += 1;
            }
        }
        Ok(removed)
    }
}

fn logged<T>(result: Result<T>) -> Option<T> {
    result.inspect_err(crate::error::Error::log).ok()
}

//! Tidying up: what expired, and what a crash left behind.
//!
//! Owns the periodic look. Each session is ended by a conditional change, so two sweeps at once, or a sweep and a part,
//! do no harm.

use super::Service;
use crate::{
    domain::{SessionStatus, StatusReason},
    error::Result,
};

const BATCH: u64 = 100;

/// What a sweep did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Swept {
    /// Sessions that were aborted because their time was up.
    pub expired: usize,
    /// Uploads on disk that no open session knew.
    pub leftovers: usize,
}

impl Service {
    /// Aborts what has expired, frees what an earlier abort did not come to free, removes bytes that belong to no open
    /// session, and notes when tokens were used. What fails is logged and left for the next time; the rest goes on.
    pub async fn sweep(&self) -> Swept {
        let swept = Swept {
            expired: logged(self.expire().await).unwrap_or_default(),
            leftovers: logged(self.remove_leftovers().await).unwrap_or_default(),
        };
        logged(self.free_ended().await);
        logged(self.flush_token_uses().await);
        swept
    }

    async fn expire(&self) -> Result<usize> {
        let mut expired = 0;
        loop {
            let before = expired;
            for id in self.db.expired_sessions(self.clock.now(), BATCH).await? {
                let ended = self.end_without_file(id, SessionStatus::Aborted, StatusReason::Expired, None).await;
                expired += usize::from(logged(ended).is_some());
            }
            if expired == before {
                return Ok(expired);
            }
        }
    }

    async fn free_ended(&self) -> Result<()> {
        loop {
            let mut freed = 0;
            for (session, file) in self.db.sessions_to_free(BATCH).await? {
                freed += usize::from(logged(self.free(session, file).await).is_some());
            }
            if freed == 0 {
                return Ok(());
            }
        }
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

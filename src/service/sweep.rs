//! Tidying up: what expired, and what a crash left behind.
//!
//! Owns the periodic look. Each session is ended by a conditional change, so two sweeps at once, or a sweep and a part,
//! do no harm.

use super::Service;
use crate::{
    domain::{SessionId, SessionStatus, StatusReason},
    error::Result,
    telemetry::SessionEvent,
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
    /// Aborts what has expired, frees what an earlier abort did not come to free, and removes bytes that belong to no
    /// open session.
    pub async fn sweep(&self) -> Result<Swept> {
        let expired = self.expire().await?;
        self.free_ended().await?;
        let leftovers = self.remove_leftovers().await?;
        self.flush_token_uses().await?;
        Ok(Swept { expired, leftovers })
    }

    async fn expire(&self) -> Result<usize> {
        let mut expired = 0;
        loop {
            let overdue = self.db.expired_sessions(self.clock.now(), BATCH).await?;
            if overdue.is_empty() {
                return Ok(expired);
            }
            for id in overdue {
                let ended = self.end_without_file(id, SessionStatus::Aborted, StatusReason::Expired, None).await?;
                if ended.1 {
                    expired += 1;
                    self.metrics.count_session(SessionEvent::Expired);
                    tracing::info!(session.id = %id.0, "session expired");
                }
            }
        }
    }

    async fn free_ended(&self) -> Result<()> {
        loop {
            let ended = self.db.sessions_to_free(BATCH).await?;
            if ended.is_empty() {
                return Ok(());
            }
            for session in ended {
                self.free(&session).await?;
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
                self.remove_leftover(*id).await?;
                removed += 1;
            }
        }
        Ok(removed)
    }

    async fn remove_leftover(&self, id: SessionId) -> Result<()> {
        self.storage.discard_upload(id).await?;
        tracing::warn!(session.id = %id.0, "removed bytes that belonged to no open session");
        Ok(())
    }
}

//! Finalizing without a request.
//!
//! Owns when the server finalizes a session by itself: when the last byte of a session with `auto_finalize` is durable, and
//! later if that failed. Does not own how: that is `finalize`.

use std::{sync::Arc, time::Duration};

use uuid::Uuid;

use super::{DigestFields, Service};
use crate::{
    domain::{Principal, Session, SessionId, Upload},
    error::{Error, Result},
};

/// Maximum time that a status read waits for a finalize.
const MAX_WAIT: Duration = Duration::from_secs(5);
const BATCH: u64 = 100;

impl Service {
    /// Finalizes a session that has all bytes and finalizes automatically. `None` if it is not due. If that fails, logs the
    /// error and returns `None`: the sweep tries again.
    pub(super) async fn finalize_if_due(self: &Arc<Self>, principal: &Principal, session: &Session) -> Option<Upload> {
        if !is_due(session) {
            return None;
        }
        let settled = self.settle(principal, session.id).await;
        let log = |error: &Error| {
            tracing::warn!(session.id = %session.id, error = error.with_causes(), "the session cannot be finalized yet");
        };
        settled.inspect_err(log).ok()
    }

    /// The status of a session. First finalizes it if it has all bytes and finalizes automatically. So a client that compares
    /// offset and length takes only a stored file for complete.
    ///
    /// # Errors
    /// `NOT_FOUND`. The error of the finalize. `UNAVAILABLE` if that takes longer than 5 seconds; it then continues.
    pub async fn settled_status(self: &Arc<Self>, principal: &Principal, id: SessionId) -> Result<Upload> {
        let state = self.state(principal, id).await?;
        if !is_due(&state.session) {
            return Ok(state.to_upload());
        }
        let (this, principal) = (Arc::clone(self), principal.clone());
        let settling = self.run_detached(async move { this.settle(&principal, id).await });
        let settled = tokio::time::timeout(MAX_WAIT, settling).await;
        settled.unwrap_or_else(|late| Err(Error::unavailable("the file is being finalized; ask again", late)))
    }

    /// Finalizes a session that has all bytes. A session that the finalize ends without a file is no error.
    async fn settle(self: &Arc<Self>, principal: &Principal, id: SessionId) -> Result<Upload> {
        let finalized = self.finalize(principal, id, DigestFields::default(), |_| true).await;
        match finalized {
            Ok(upload) => Ok(upload),
            Err(error) => match self.status(principal, id).await {
                Ok(upload) if !upload.session.status.is_open() => Ok(upload),
                _ => Err(error),
            },
        }
    }

    /// Finalizes the sessions whose finalize failed, or was interrupted, after their last byte. Returns their number.
    pub(super) async fn finalize_due(self: &Arc<Self>) -> Result<usize> {
        let (mut finalized, mut after) = (0, SessionId(Uuid::nil()));
        loop {
            let due = self.db.sessions_to_finalize(after, BATCH).await?;
            let Some((last, _)) = due.last() else { return Ok(finalized) };
            after = *last;
            for (id, owner) in due {
                finalized += usize::from(self.of_one(self.settle(&Principal::of_owner(owner), id).await).is_some());
            }
        }
    }
}

fn is_due(session: &Session) -> bool {
    session.status.is_open() && session.auto_finalize && session.has_all_parts()
}

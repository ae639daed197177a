//! Aborting a session.
//!
//! Owns the abort by the owner. Does not own the steps that are common to every end of a session: those are in `end`.

use std::sync::Arc;

use super::{Service, scope};
use crate::{
    domain::{Principal, Session, SessionId, SessionStatus, StatusReason, Upload},
    error::{Error, Result},
};

impl Service {
    /// Aborts a session and frees its bytes, if it is open and `may_change` accepts its present state. A repeated abort
    /// changes nothing. Returns `None` if the session's row is damaged; the session is aborted in this case too.
    ///
    /// # Errors
    /// `NOT_FOUND`, `SESSION_CLOSED` if it is complete, `PRECONDITION_FAILED`.
    pub async fn abort(
        self: &Arc<Self>,
        principal: &Principal,
        id: SessionId,
        may_change: impl Fn(&Session) -> bool + Send + Sync + 'static,
    ) -> Result<Option<Upload>> {
        let owner = scope::everything(principal)?;
        match self.db.session(owner, id).await {
            Ok(found) => drop(found.ok_or_else(|| Error::not_found("session"))?),
            Err(error) if error.is_corrupt() => {}
            Err(error) => return Err(error.into()),
        }
        let (this, owner) = (Arc::clone(self), owner.clone());
        let aborted = self
            .run_detached(async move {
                let now = this.clock.now();
                let abort = |upload: &mut Upload| may_change(&upload.session) && upload.abort(now);
                let upload = match this.end(Some(&owner), id, abort).await {
                    Err(error) if error.is_corrupt() => {
                        this.end_unreadable(Some(&owner), id, StatusReason::AbortedByOwner, &error).await?;
                        return Ok(None);
                    }
                    ended => ended?.0,
                };
                if upload.session.status.is_open() {
                    return Err(Error::precondition_failed());
                }
                // Also if the session had ended before: the request that ended it may have stopped before it freed the
                // bytes.
                this.free_without_file(&upload.session).await?;
                Ok(Some(upload))
            })
            .await?;
        match aborted {
            Some(upload) if upload.session.status == SessionStatus::Complete => {
                Err(Error::session_closed(&upload.session))
            }
            aborted => Ok(aborted),
        }
    }
}

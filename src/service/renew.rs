//! Renewing the time-to-live of a session in use.
//!
//! Owns when a request renews it: a part on a slow line and the finalize of a large file can take longer than the
//! remaining time. Does not own the rule: that is [`Session::keep_alive`].

use super::Service;
use crate::{
    domain::{Session, Upload},
    error::{Error, Result},
};

impl Service {
    /// Keeps a session from expiring while its bytes arrive.
    pub(super) async fn keep_alive(&self, session: &mut Session) -> Result<()> {
        if let Some(current) = self.renew_if_due(session).await? {
            if !current.session.status.is_open() {
                return Err(Error::session_closed(&current.session));
            }
            session.expires_at = current.session.expires_at;
        }
        Ok(())
    }

    /// Renews the time-to-live of a session in use, if a third of it has passed, and returns the upload. Otherwise
    /// returns `None`, at no cost.
    pub(super) async fn renew_if_due(&self, session: &Session) -> Result<Option<Upload>> {
        let (now, ttl) = (self.clock.now(), self.limits.session_ttl);
        if !session.is_renewal_due(now, ttl) {
            return Ok(None);
        }
        let renew = |upload: &mut Upload| upload.session.keep_alive(now, ttl);
        let (upload, _) = self.db.change_upload(Some(&session.owner), session.id, renew).await?;
        Ok(Some(upload))
    }
}

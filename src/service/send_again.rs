//! Parts of which the store kept other bytes than were recorded.
//!
//! Owns what becomes of them: they are forgotten, so that the client sends them again. It happens on stores that keep the
//! last put of a part, when one that was given up lands after the one that was recorded.

use super::Service;
use crate::{
    domain::{PartRecord, Session},
    error::{Error, Result},
};

impl Service {
    /// Forgets these parts; answers what to tell the client.
    pub(super) async fn to_be_sent_again(
        &self,
        session: &Session,
        mut parts: Vec<PartRecord>,
        numbers: &[u32],
    ) -> Result<Error> {
        parts.retain(|record| numbers.contains(&record.part.number));
        let session = self.db.forget_parts(session, &parts, self.clock.now()).await?;
        // It may hash other bytes the next time.
        self.prefix_hashes.forget(session.id);
        tracing::warn!(session.id = %session.id, parts = ?numbers, "the store kept other bytes of these parts: forgotten");
        Ok(match session.status.is_open() {
            true if !session.has_all_parts() => Error::parts_missing(&session.received, session.plan.total_parts()),
            true => Error::busy("the parts are being stored again"),
            false => Error::session_closed(&session),
        })
    }
}

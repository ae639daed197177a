//! Parts that the client must send again.
//!
//! Owns what happens if the object store does not have the bytes of a part that were recorded: the server forgets the
//! part, so the client sends it again. A store keeps the last put of a part, and a put that failed without an answer
//! can still land after the one that was recorded.

use super::Service;
use crate::{
    domain::{PartRecord, Session},
    error::{Error, Result},
};

impl Service {
    /// Forgets these parts. Returns the error for the client.
    pub(super) async fn to_be_sent_again(
        &self,
        session: &Session,
        mut parts: Vec<PartRecord>,
        numbers: &[u32],
    ) -> Result<Error> {
        parts.retain(|record| numbers.contains(&record.part.number));
        let session = self.db.forget_parts(session, &parts, self.clock.now()).await?;
        // The hash may cover the old bytes.
        self.prefix_hashes.forget(session.id);
        tracing::warn!(session.id = %session.id, parts = ?numbers, "the store has other bytes of these parts; the client must send them again");
        Ok(match session.status.is_open() {
            true if !session.has_all_parts() => Error::parts_missing(&session.received, session.plan.total_parts()),
            true => Error::busy("the parts are being stored again"),
            false => Error::session_closed(&session),
        })
    }
}

//! The replay of a part: a client sends a part that was received before.
//!
//! Owns the response to a replay. The server reads the body, compares it with the recorded digest, and writes nothing.
//! So a retry is harmless, and other bytes are a conflict. Does not own a repeated creation of a session: that is `create`.

use bytes::Bytes;
use futures_util::Stream;
use sha2::{Digest, Sha256};
use tokio_util::sync::CancellationToken;

use super::{
    Service,
    receive::{Body, BodyFault, Disposition, IncomingPart, Receipt},
};
use crate::{
    domain::{Part, PartRecord, Principal, Session, Sha256Digest},
    error::{Error, Result},
    storage,
};

impl Service {
    /// Handles a part that was received before: reads and hashes the body, and writes nothing.
    pub(super) async fn replay<B>(
        &self,
        principal: &Principal,
        mut session: Session,
        part: Part,
        incoming: IncomingPart<B>,
    ) -> Result<Receipt>
    where
        B: Stream<Item = Result<Bytes, BodyFault>> + Unpin + Send,
    {
        let no_row = || Error::internal(format!("session {}: part {} has no row", session.id, part.number));
        let before = self.db.part(&session, part.number).await?.ok_or_else(no_row)?;
        let declared = incoming.declared_sha256;
        if let Some(declared) = declared.filter(|declared| *declared != before.sha256) {
            return Err(Error::part_conflict(before.sha256, declared));
        }
        let mut body = Body::new(incoming.body, part, CancellationToken::new());
        let mut hasher = Sha256::new();
        while let Some(bytes) = body.next().await? {
            hasher.update(&bytes);
            self.keep_alive(&mut session).await?;
        }
        let received = hasher.into();
        if let Some(declared) = declared.filter(|declared| *declared != received) {
            return Err(Error::checksum_mismatch("part", declared, received));
        }
        // Reading the body can take long, so read the counters again.
        let session = self.own_session(principal, session.id).await?;
        let receipt = compare(session.clone(), before, received)?;
        match self.storage.check_upload(&session).await {
            Err(error @ storage::Error::Lost(_)) if session.status.is_open() => {
                Err(self.resolve_to_error(&session, error, |_| true).await)
            }
            // An unavailable storage does not prove a loss.
            _ => Ok(receipt),
        }
    }
}

/// Compares the digests of a replay and of the part that was recorded `before`.
pub(super) fn compare(session: Session, before: PartRecord, received: Sha256Digest) -> Result<Receipt> {
    if before.sha256 != received {
        return Err(Error::part_conflict(before.sha256, received));
    }
    Ok(Receipt { part: before, session, disposition: Disposition::Replay })
}

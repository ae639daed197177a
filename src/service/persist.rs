//! From bytes that have all arrived to a part that is recorded.
//!
//! Owns the order: durable first, recorded then, acknowledged last. On storage that several servers write to, a claim in
//! the database goes around both, because there the last one put is what is kept, and that must be what is recorded. Who
//! finds a part claimed is told to come again.

use std::time::Duration;

use chrono::TimeDelta;

use super::{Disposition, Receipt, Service};
use crate::{
    db::{PartClaim, Recorded},
    domain::{Part, PartRecord, Session, Sha256Digest},
    error::{Error, Result},
    storage::{PersistedPart, StagedPart},
};

const UNDER_WAY: &str = "another request is storing the same part";
/// How long a claim outlives a server that died. The servers' clocks must agree better than this.
const CLAIM: TimeDelta = TimeDelta::seconds(10);
/// How often a claim is renewed while the part is put.
const RENEWAL: Duration = Duration::from_secs(3);

impl Service {
    pub(super) async fn persist(&self, session: Session, part: Part, staged: Box<dyn StagedPart>) -> Result<Receipt> {
        if !self.storage.is_shared() {
            let sha256 = staged.sha256();
            let persisted = staged.persist().await?;
            return self.record(session, part, sha256, persisted, None).await;
        }
        let claim = PartClaim::new(session.id, part.number);
        let now = self.clock.now();
        if !self.db.claim_part(&claim, now, now + CLAIM).await? {
            return Err(Error::busy(UNDER_WAY));
        }
        let session_now = self.db.session(&session.owner, session.id).await?.unwrap_or_else(|| session.clone());
        // Another server may have recorded it before the claim was taken; it must not be put again.
        if let Some(before) = self.db.part(&session, part.number).await? {
            self.db.release_claim(&claim).await?;
            return compare(session_now, before, staged.sha256());
        }
        self.persist_claimed(&claim, session, part, staged).await
    }

    /// Puts and records. A claim whose put failed is left to lapse: the bytes may still be on their way, and must not come
    /// after those of whoever claims the part next.
    async fn persist_claimed(
        &self,
        claim: &PartClaim,
        session: Session,
        part: Part,
        staged: Box<dyn StagedPart>,
    ) -> Result<Receipt> {
        let sha256 = staged.sha256();
        let mut persisting = staged.persist();
        let persisted = loop {
            tokio::select! {
                persisted = &mut persisting => break persisted,
                () = tokio::time::sleep(RENEWAL) => {
                    if !self.db.renew_claim(claim, self.clock.now() + CLAIM).await? {
                        return Err(Error::busy(UNDER_WAY));
                    }
                }
            }
        };
        match persisted {
            Ok(persisted) => self.record(session, part, sha256, persisted, Some(claim)).await,
            Err(error) => Err(self.closed_meanwhile(&session, error.into()).await?),
        }
    }

    /// Why the bytes of a session are not where they should be: it ended in between, or they are really lost.
    pub(super) async fn closed_meanwhile(&self, session: &Session, error: Error) -> Result<Error> {
        let now = self.db.session(&session.owner, session.id).await?;
        Ok(now.filter(|session| !session.status.is_open()).map_or(error, |session| Error::session_closed(&session)))
    }

    async fn record(
        &self,
        session: Session,
        part: Part,
        sha256: Sha256Digest,
        persisted: PersistedPart,
        claim: Option<&PartClaim>,
    ) -> Result<Receipt> {
        let PersistedPart { held, etag, bytes } = persisted;
        let now = self.clock.now();
        let record = PartRecord { part, sha256, storage_etag: etag, received_at: now };
        let ttl = self.limits.session_ttl;
        let recorded =
            self.db.record_part(session.id, &record, claim, |session| session.record(part, now, ttl)).await?;
        drop(held);
        match recorded {
            Recorded::New(session) => {
                self.metrics.part_bytes.inc_by(part.size_bytes);
                tracing::info!(
                    session.id = %session.id.0,
                    part.number = part.number,
                    size_bytes = part.size_bytes,
                    completed_parts = session.completed_parts(),
                    total_parts = session.plan.total_parts(),
                    "part received"
                );
                if self.hashes_file(&session) {
                    self.prefix_hashes.advance(&self.storage, &session, part, bytes);
                }
                Ok(Receipt { part: record, session: *session, disposition: Disposition::New })
            }
            Recorded::Before(session, before) => compare(*session, before, sha256),
            Recorded::ClaimLost => Err(Error::busy(UNDER_WAY)),
            Recorded::Closed(session) => {
                // It ended while the bytes came in; what this request may have written after that is not left behind.
                if session.status_reason.is_some() {
                    self.free(&session).await?;
                }
                Err(Error::session_closed(&session))
            }
        }
    }
}

/// The answer for a part that is there.
pub(super) fn compare(session: Session, before: PartRecord, received: Sha256Digest) -> Result<Receipt> {
    if before.sha256 != received {
        return Err(Error::part_conflict(before.sha256, received));
    }
    Ok(Receipt { part: before, session, disposition: Disposition::Replay })
}

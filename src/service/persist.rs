//! From bytes that have all arrived to a part that is recorded.
//!
//! Owns the order: durable first, recorded then, acknowledged last. Parts that become durable while a transaction records
//! others are recorded together, by the next. On storage that several servers write to, a claim in
//! the database goes around both, because there the last one put is what is kept, and that must be what is recorded. Who
//! finds a part claimed is told to come again.

use std::{sync::Arc, time::Duration};

use chrono::TimeDelta;

use super::{Disposition, Receipt, Service, events::Event};
use crate::{
    db::{LockWait, NewPart, PartClaim, Recorded},
    domain::{Part, PartRecord, Session, Sha256Digest},
    error::{Error, Result},
    storage::{PersistedPart, StagedPart},
    together::Together,
};

const NOT_RECORDED: &str = "the database cannot take the request now";
const UNDER_WAY: &str = "another request is storing the same part";
/// How long a claim outlives a server that died.
const CLAIM: TimeDelta = TimeDelta::seconds(10);
/// How often a claim is renewed while the part is put.
const RENEWAL: Duration = Duration::from_secs(3);

impl Service {
    pub(super) async fn persist(&self, session: Session, part: Part, staged: Box<dyn StagedPart>) -> Result<Receipt> {
        if !self.storage.is_shared() {
            let sha256 = staged.sha256();
            return match staged.persist().await {
                Ok(persisted) => self.record(session, part, sha256, persisted, None).await,
                Err(error) => Err(self.refuse_failed(&session, error, lacks(part)).await),
            };
        }
        let claim = PartClaim::new(session.id, part.number);
        if !self.db.claim_part(&session.owner, &claim, self.clock.now(), CLAIM).await? {
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

    /// Puts and records. A claim whose put was refused is given back. One whose put failed without an answer is left to
    /// lapse: the bytes may still be on their way, and must not arrive after those of the next claim.
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
                    if !self.db.renew_claim(claim, self.clock.now(), CLAIM).await? {
                        return Err(Error::busy(UNDER_WAY));
                    }
                }
            }
        };
        match persisted {
            Ok(persisted) => self.record(session, part, sha256, persisted, Some(claim)).await,
            Err(error) => {
                if error.was_answered() {
                    self.db.release_claim(claim).await?;
                }
                Err(self.refuse_failed(&session, error, lacks(part)).await)
            }
        }
    }

    /// One result for each. What fails for another reason than the database's absence may be the fault of one part's
    /// session, and is tried again one by one.
    async fn record_together(&self, parts: Vec<NewPart>) -> Vec<Result<Recorded>> {
        let ttl = self.limits.session_ttl;
        match self.db.record_parts(&parts, ttl).await {
            Ok(recorded) => recorded.into_iter().map(Ok).collect(),
            Err(error) if error.is_unavailable() => {
                let error = Arc::new(error);
                parts.iter().map(|_| Err(Error::unavailable(NOT_RECORDED, Arc::clone(&error)))).collect()
            }
            Err(error) if parts.len() == 1 => vec![Err(error.into())],
            Err(_) => {
                let mut results = Vec::new();
                for part in parts {
                    let recorded = self.db.record_parts(&[part], ttl).await;
                    results.push(recorded.map(|mut one| one.remove(0)).map_err(Error::from));
                }
                results
            }
        }
    }

    /// Records a part with others. While another transaction has its session, they go on without it.
    async fn record_when_free(&self, new: &NewPart) -> Result<Recorded> {
        let mut wait = LockWait::default();
        loop {
            let recorded = self.recording.run(new.clone(), |parts| self.record_together(parts)).await;
            let given_up = || Err(Error::unavailable("the server is stopping", "a batch of parts was given up"));
            let recorded = recorded.unwrap_or_else(given_up)?;
            if !matches!(recorded, Recorded::Locked) || !wait.pause().await {
                return Ok(recorded);
            }
        }
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
        let new = NewPart { session: session.id, part: record.clone(), claim: claim.copied() };
        let recorded = self.record_when_free(&new).await;
        drop(held);
        match recorded? {
            Recorded::New(session) => {
                self.announce(Event::PartReceived(&session, part));
                if self.hashes_file(&session) {
                    self.prefix_hashes.advance((&self.storage, &self.db), &session, part, bytes).await;
                }
                Ok(Receipt { part: record, session: *session, disposition: Disposition::New })
            }
            Recorded::Before(session, before) => compare(*session, before, sha256),
            Recorded::ClaimLost => Err(Error::busy(UNDER_WAY)),
            Recorded::Locked => Err(Error::unavailable(NOT_RECORDED, "another transaction has the session")),
            Recorded::Closed(session) => {
                // It ended while the bytes came in; what this request may have written after that is not left behind.
                self.free_without_file(&session).await?;
                Err(Error::session_closed(&session))
            }
        }
    }
}

/// Bytes that are not there are lost if a session still lacks this part: nobody can be completing it then.
pub(super) fn lacks(part: Part) -> impl Fn(&Session) -> bool + Sync {
    move |session| !session.received.contains(part.number)
}

/// Parts that wait to be recorded.
pub(super) type Recording = Together<NewPart, Result<Recorded>>;

/// The answer for a part that is there.
pub(super) fn compare(session: Session, before: PartRecord, received: Sha256Digest) -> Result<Receipt> {
    if before.sha256 != received {
        return Err(Error::part_conflict(before.sha256, received));
    }
    Ok(Receipt { part: before, session, disposition: Disposition::Replay })
}

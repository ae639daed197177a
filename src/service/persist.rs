//! Persisting a part whose bytes have all arrived.
//!
//! Owns the order: first the bytes become durable, then the part is recorded, then the client gets its response. Parts
//! that become durable while a transaction is under way are recorded together by the next one (group commit). An object
//! store keeps the bytes of the last put of a part, and several nodes can put it. So the put and the record need a
//! lease in the database. If another request has the lease, an append waits for it, and the server refuses any other
//! request with `BUSY`.

use std::{sync::Arc, time::Duration};

use chrono::TimeDelta;
use tokio::time::Instant;

use super::{Disposition, Receipt, Service, events::Event, lost::still_needs, replay::compare};
use crate::{
    db::{LockWait, NewPart, PartLease, Recorded},
    domain::{Digests, Part, PartRecord, Session, Tail},
    error::{Error, Result},
    group_commit::GroupCommit,
    metrics::{LeaseKind, Queue},
    spans::span,
    storage::{BufferedBytes, PersistedPart, StagedPart},
};

const NOT_RECORDED: &str = "the database cannot accept the request now";
const LEASED: &str = "another request is storing the same part";
const APPENDED: &str = "an append has stored bytes of the same part; send the part again";
/// Duration of a lease. If a node dies, its parts are blocked for this time.
const LEASE: TimeDelta = TimeDelta::seconds(10);
/// How often a lease is renewed while the put runs.
const RENEWAL: Duration = Duration::from_secs(3);
/// How long an append waits for a lease: longer than a dead node can have it.
const MAX_LEASE_WAIT: Duration = Duration::from_secs(12);
/// How often it tries.
const LEASE_POLL: Duration = Duration::from_millis(250);

/// A part whose bytes have all arrived.
pub(super) struct WholePart {
    pub(super) part: Part,
    pub(super) staged: Box<dyn StagedPart>,
    /// Whether an append brought the last bytes.
    pub(super) is_appended: bool,
}

impl Service {
    /// Persists and records a part. `session` is the one whose tail the part begins with.
    pub(super) async fn persist(&self, session: Session, complete: WholePart) -> Result<Receipt> {
        if self.storage.as_multipart().is_none() {
            return self.persist_and_record(session, complete, None).await;
        }
        let (part, sha256) = (complete.part, complete.staged.digests().sha256);
        let lease = PartLease::new(session.id, part.number);
        if !self.take_lease(&session, &lease, complete.is_appended).await? {
            return Err(Error::busy(LEASED));
        }
        let _held = self.metrics.leases.hold(LeaseKind::Part);
        let session_now = self.db.session(&session.owner, session.id).await?.unwrap_or_else(|| session.clone());
        // Another node may have recorded the part before this request got the lease. Then the part must not be put
        // again.
        if let Some(before) = self.db.part(&session, part.number).await? {
            self.db.release_lease(&lease).await?;
            return compare(session_now, before, sha256);
        }
        self.persist_and_record(session, complete, Some(&lease)).await
    }

    /// Takes the lease on a part. If another request has it, an append waits until it is released or expires: a node that was
    /// killed leaves one, and many clients of tus give up before it expires. A client that sends whole parts is told at once.
    async fn take_lease(&self, session: &Session, lease: &PartLease, waits: bool) -> Result<bool> {
        let deadline = Instant::now() + MAX_LEASE_WAIT;
        loop {
            if self.db.lease_part(&session.owner, lease, self.clock.now(), LEASE).await? {
                return Ok(true);
            }
            if !waits || Instant::now() >= deadline {
                return Ok(false);
            }
            tokio::time::sleep(LEASE_POLL).await;
        }
    }

    /// Persists and records a part, under a lease on an object store. Releases the lease if the store refused the part. Lets
    /// it expire if the put failed without an answer: those bytes may still reach the store, and must not overwrite the part
    /// of the next lease.
    async fn persist_and_record(
        &self,
        session: Session,
        WholePart { part, staged, is_appended }: WholePart,
        lease: Option<&PartLease>,
    ) -> Result<Receipt> {
        let Digests { sha256, crc64nvme } = staged.digests();
        let mut persisting = staged.persist();
        let step = span!("persist part", part.number = part.number);
        let waiting = self.metrics.queues.hold(Queue::Persist);
        let persisted = loop {
            tokio::select! {
                persisted = &mut persisting => break persisted,
                () = tokio::time::sleep(RENEWAL), if lease.is_some() => {
                    if let Some(lease) = lease && !self.db.renew_lease(lease, self.clock.now(), LEASE).await? {
                        return Err(Error::busy(LEASED));
                    }
                }
            }
        };
        drop((waiting, step));
        match persisted {
            Ok(PersistedPart { write_guard, etag, bytes }) => {
                let (crc64nvme, received_at) = (Some(crc64nvme), self.clock.now());
                let record = PartRecord { part, sha256, crc64nvme, storage_etag: etag, received_at };
                let tail = session.tail_of(part).map(|tail| tail.sha256);
                let lease = lease.copied();
                let new = NewPart { session: session.id, part: record, lease, tail, is_appended };
                let waiting = self.metrics.queues.hold(Queue::Record);
                let step = span!("record part", part.number = part.number);
                let recorded = self.record_when_free(&new).await;
                drop((waiting, step));
                drop(write_guard);
                self.receipt(&session, new, recorded?, bytes).await
            }
            Err(error) => {
                if let Some(lease) = lease.filter(|_| error.is_definite()) {
                    self.db.release_lease(lease).await?;
                }
                Err(self.resolve_to_error(&session, error, still_needs(&session, part)).await)
            }
        }
    }

    /// Records parts in one transaction. Returns one result for each part. If the transaction fails although the
    /// database is available, the session of one part may be the cause, so the parts are then recorded one by one.
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

    /// Records a part by group commit. While another transaction has locked its session, retries with a growing pause; the
    /// other parts of the batch do not wait for it.
    async fn record_when_free(&self, new: &NewPart) -> Result<Recorded> {
        let mut wait = LockWait::default();
        loop {
            let recorded = self.recording.run(new.clone(), |parts| self.record_together(parts)).await;
            let cancelled =
                || Err(Error::unavailable("the server is stopping", "the task that recorded a batch ended"));
            let recorded = recorded.unwrap_or_else(cancelled)?;
            if !matches!(recorded, Recorded::Locked) || !wait.pause().await {
                return Ok(recorded);
            }
        }
    }

    /// The response for a part, after the attempt to record it. `before` is the session before the part.
    async fn receipt(
        &self,
        before: &Session,
        new: NewPart,
        recorded: Recorded,
        bytes: Option<BufferedBytes>,
    ) -> Result<Receipt> {
        match recorded {
            Recorded::New(session) => {
                let part = new.part.part;
                self.announce(Event::PartReceived(&session, part));
                if session.must_hash(self.limits.hashes_every_file()) {
                    self.prefix_hashes.advance((&self.storage, &self.db), &session, part, bytes).await;
                }
                self.discard_tail(before.tail_of(part)).await;
                Ok(Receipt { part: new.part, session: *session, disposition: Disposition::New })
            }
            Recorded::Replay(session, before) => compare(*session, before, new.part.sha256),
            Recorded::LeaseLost => Err(Error::busy(LEASED)),
            Recorded::OtherTail => {
                if let Some(lease) = &new.lease {
                    self.db.release_lease(lease).await?;
                }
                Err(Error::busy(APPENDED))
            }
            Recorded::Locked => Err(Error::unavailable(NOT_RECORDED, "another transaction has locked the session")),
            Recorded::Closed(session) => {
                // The session ended while the bytes arrived. This request may have written after the bytes were freed.
                self.free_without_file(&session).await?;
                Err(Error::session_closed(&session))
            }
        }
    }

    /// Deletes a tail that the session does not refer to. If that fails, the sweep deletes it once the session has ended.
    pub(super) async fn discard_tail(&self, tail: Option<&Tail>) {
        if let Some(store) = self.storage.as_multipart()
            && let Some(location) = tail.and_then(|tail| tail.location.as_deref())
            && let Err(error) = store.discard_tail(location).await
        {
            tracing::warn!(location, %error, "a tail that is no longer needed could not be deleted");
        }
    }
}

/// The group commit of parts.
pub(super) type Recording = GroupCommit<NewPart, Result<Recorded>>;

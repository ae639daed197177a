//! Receiving a part.
//!
//! Owns the steps before a part becomes durable: claim the part, read the body, compare the digest. Does not make the
//! bytes durable: that is `persist`. Does not handle a part that was received before: that is `replay`.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use sha2::{Digest, Sha256};
use tokio_util::sync::CancellationToken;

use super::{Service, events::Event, lost::still_needs, persist::WholePart};
use crate::{
    domain::{Part, PartRecord, Principal, Session, SessionId, Sha256Digest},
    error::{Error, Result},
};

pub(super) const SUPERSEDED: &str = "a newer request for the same part took over";

/// A part that a client sends.
#[derive(Debug)]
pub struct IncomingPart<B> {
    /// Its number, counted from 1.
    pub number: u32,
    /// The length that the client declared before the body.
    pub declared_bytes: Option<u64>,
    /// The digest that the client declared before the body.
    pub declared_sha256: Option<Sha256Digest>,
    /// The bytes.
    pub body: B,
}

/// Why a body ends early.
#[derive(Debug)]
pub enum BodyFault {
    /// The connection broke or stalled. A retry can succeed.
    Stopped,
    /// The body is wrong. A retry would be refused again.
    Refused(Error),
}

/// The acknowledgement: the part is durable.
#[derive(Debug)]
pub struct Receipt {
    /// The part as it is stored.
    pub part: PartRecord,
    /// The session with the part.
    pub session: Session,
    /// Which request brought the bytes.
    pub disposition: Disposition,
}

/// Which request brought the bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Disposition {
    /// This one.
    New,
    /// An earlier one, with the same bytes.
    Replay,
}

impl Service {
    /// Receives a part. Returns after its bytes are durable.
    ///
    /// # Errors
    /// `NOT_FOUND`, `PART_OUT_OF_RANGE`, `PART_SIZE_MISMATCH` (before the body is read, if the declared length is wrong),
    /// `CHECKSUM_MISMATCH`, `PART_CONFLICT` with both digests if the part was received with other bytes, `BUSY` if a
    /// newer request for the same part took over, `SESSION_CLOSED`.
    pub async fn receive<B>(
        self: &Arc<Self>,
        principal: &Principal,
        id: SessionId,
        incoming: IncomingPart<B>,
    ) -> Result<Receipt>
    where
        B: Stream<Item = Result<Bytes, BodyFault>> + Unpin + Send,
    {
        let mut received = self.receive_part(principal, id, incoming).await;
        match &received {
            // `persist` announced the part when it became durable.
            Ok(Receipt { disposition: Disposition::New, .. }) => {}
            Ok(Receipt { disposition: Disposition::Replay, .. }) => self.announce(Event::PartReplayed),
            Err(_) => self.announce(Event::PartRefused),
        }
        if let Ok(receipt) = &mut received
            && let Some(finalized) = self.finalize_if_due(principal, &receipt.session).await
        {
            receipt.session = finalized.session;
        }
        received
    }

    async fn receive_part<B>(
        self: &Arc<Self>,
        principal: &Principal,
        id: SessionId,
        incoming: IncomingPart<B>,
    ) -> Result<Receipt>
    where
        B: Stream<Item = Result<Bytes, BodyFault>> + Unpin + Send,
    {
        let session = self.session_for_part(principal, id).await?;
        let part = acceptable(&session, &incoming)?;
        if session.received.contains(part.number) {
            return self.replay(principal, session, part, incoming).await;
        }
        let Some(claim) = self.claims.take(id, part.number).await else { return Err(Error::busy(SUPERSEDED)) };
        let superseded = claim.superseded();
        // Read again under the claim: the request that had it before may have recorded the part.
        let session = self.session_for_part(principal, id).await?;
        if session.received.contains(part.number) {
            drop(claim);
            return self.replay(principal, session, part, incoming).await;
        }
        if !session.status.is_open() {
            return Err(Error::session_closed(&session));
        }
        let reservation = self.reserve_room(part.size_bytes).await?;
        let mut session = match self.storage.as_multipart() {
            None => session,
            // Detached: if the request were dropped after the store started a multipart upload and before its id is
            // recorded, the server could never free that upload.
            Some(_) => {
                let this = Arc::clone(self);
                self.run_detached(async move { this.ensure_upload_started(session).await }).await?
            }
        };
        let IncomingPart { declared_sha256, body, .. } = incoming;
        let mut body = Body::new(body, part, superseded);
        self.compare_tail(&mut session, part, &mut body).await?;
        let mut writer = match self.storage.part_writer(&session, part, Arc::new((claim, reservation))).await {
            Ok(writer) => writer,
            Err(error) => return Err(self.resolve_to_error(&session, error, still_needs(&session, part)).await),
        };
        while let Some(bytes) = body.next().await? {
            writer.push(bytes).await?;
            self.keep_alive(&mut session).await?;
        }
        let staged = writer.finish().await?;
        let sha256 = staged.digests().sha256;
        if let Some(declared) = declared_sha256.filter(|declared| *declared != sha256) {
            return Err(Error::checksum_mismatch("part", declared, sha256));
        }
        let this = Arc::clone(self);
        let complete = WholePart { part, staged, is_appended: false };
        self.run_detached(async move { this.persist(session, complete).await }).await
    }

    /// The caller's session. With a folder its last committed state, which needs no statement if it is in memory. With an object
    /// store its row, because a state in memory may lack the multipart upload; see `db/snapshots.rs`.
    async fn session_for_part(&self, principal: &Principal, id: SessionId) -> Result<Session> {
        match self.storage.as_multipart() {
            None => Ok((*self.state(principal, id).await?.session).clone()),
            Some(_) => self.own_session(principal, id).await,
        }
    }

    /// Reads as many bytes of a part as its tail has, and compares them with the tail: its bytes never change.
    async fn compare_tail<B>(&self, session: &mut Session, part: Part, body: &mut Body<B>) -> Result<()>
    where
        B: Stream<Item = Result<Bytes, BodyFault>> + Unpin + Send,
    {
        let Some(tail) = session.tail_of(part).cloned() else { return Ok(()) };
        let (mut hasher, mut left_bytes) = (Sha256::new(), tail.bytes);
        while left_bytes > 0
            && let Some(mut bytes) = body.next().await?
        {
            let len = usize::try_from(left_bytes).map_or(bytes.len(), |left| left.min(bytes.len()));
            hasher.update(bytes.split_to(len));
            left_bytes -= len as u64;
            body.rest = bytes;
            self.keep_alive(session).await?;
        }
        let received = hasher.into();
        if received == tail.sha256 { Ok(()) } else { Err(Error::part_conflict(tail.sha256, received)) }
    }

    /// Starts the store's multipart upload for the first part of a session and records its id. If two first parts do so at
    /// once, one id is kept and the other upload is abandoned. Does nothing on a local disk.
    pub(super) async fn ensure_upload_started(&self, mut session: Session) -> Result<Session> {
        let Some(store) = self.storage.as_multipart().filter(|_| session.storage_upload.is_none()) else {
            return Ok(session);
        };
        let started = store.start(&session).await?;
        let kept = self.db.keep_storage_upload(&session.owner, session.id, &started).await?;
        if kept.as_ref() != Some(&started) {
            store.abandon(&session, &started.id).await?;
        }
        if kept.is_none() {
            session = self.db.session(&session.owner, session.id).await?.unwrap_or(session);
            return Err(Error::session_closed(&session));
        }
        session.storage_upload = kept;
        Ok(session)
    }
}

/// Checks what can be checked before the body is read.
fn acceptable<B>(session: &Session, incoming: &IncomingPart<B>) -> Result<Part> {
    let out_of_range = || Error::part_out_of_range(session.plan.total_parts());
    let part = session.plan.part(incoming.number).ok_or_else(out_of_range)?;
    if !session.status.is_open() {
        return Err(Error::session_closed(session));
    }
    match incoming.declared_bytes {
        Some(declared) if declared != part.size_bytes => Err(Error::part_size_mismatch(part.size_bytes, declared)),
        _ => Ok(part),
    }
}

/// The body of a part. It must have exactly the size of the part.
pub(super) struct Body<B> {
    inner: B,
    /// Bytes that have arrived and that `next` returns first.
    rest: Bytes,
    part: Part,
    received_bytes: u64,
    superseded: CancellationToken,
}

impl<B> Body<B>
where
    B: Stream<Item = Result<Bytes, BodyFault>> + Unpin,
{
    /// The body of `part`, until `superseded` fires.
    pub(super) fn new(inner: B, part: Part, superseded: CancellationToken) -> Self {
        Self { inner, rest: Bytes::new(), part, received_bytes: 0, superseded }
    }

    /// The next bytes; `None` after the last.
    pub(super) async fn next(&mut self) -> Result<Option<Bytes>> {
        if !self.rest.is_empty() {
            return Ok(Some(std::mem::take(&mut self.rest)));
        }
        let next = tokio::select! {
            biased;
            () = self.superseded.cancelled() => return Err(Error::busy(SUPERSEDED)),
            next = self.inner.next() => next,
        };
        let mismatch = |received| Err(Error::part_size_mismatch(self.part.size_bytes, received));
        match next {
            Some(Ok(bytes)) => {
                self.received_bytes += bytes.len() as u64;
                // One byte too many is enough to refuse the part.
                if self.received_bytes > self.part.size_bytes { mismatch(self.received_bytes) } else { Ok(Some(bytes)) }
            }
            None if self.received_bytes == self.part.size_bytes => Ok(None),
            None => mismatch(self.received_bytes),
            Some(Err(BodyFault::Refused(error))) => Err(error),
            Some(Err(BodyFault::Stopped)) => Err(Error::body_cut(self.part.size_bytes, self.received_bytes)),
        }
    }
}

//! A part arrives.
//!
//! Owns the order of things: claim, take the bytes, check; what comes then is `persist`'s. A part that was received before
//! is never written again, only compared.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use sha2::{Digest, Sha256};
use tokio_util::sync::CancellationToken;

use super::{
    Service,
    events::Event,
    persist::{compare, lacks},
    run_detached,
};
use crate::{
    domain::{Part, PartRecord, Principal, Session, SessionId, Sha256Digest, Upload},
    error::{Error, Result},
    metrics::PartOutcome,
    storage,
};

const SUPERSEDED: &str = "a newer request for the same part took over";

/// A part as it comes in.
#[derive(Debug)]
pub struct IncomingPart<B> {
    /// Its number, counted from 1.
    pub number: u32,
    /// The length that was declared before the body.
    pub declared_bytes: Option<u64>,
    /// The digest that was declared before the body.
    pub declared_sha256: Option<Sha256Digest>,
    /// The bytes.
    pub body: B,
}

/// Why a body ends before its end.
#[derive(Debug)]
pub enum BodyFault {
    /// The connection was cut, or nothing came for too long: the sender's bytes may be right the next time.
    Stopped,
    /// What came is not what it should be, and would be refused again.
    Refused(Error),
}

/// The acknowledgement: the part is durable.
#[derive(Debug)]
pub struct Receipt {
    /// The part as it is stored.
    pub part: PartRecord,
    /// The session after it.
    pub session: Session,
    /// Whether this request brought it.
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
    /// Takes a part's bytes and answers when they are durable.
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
        let received = self.receive_part(principal, id, incoming).await;
        match &received {
            // It was announced when it became durable.
            Ok(Receipt { disposition: Disposition::New, .. }) => {}
            Ok(Receipt { disposition: Disposition::Replay, .. }) => self.announce(Event::PartReplayed),
            Err(_) => self.announce(Event::PartRefused),
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
        let session = self.own_session(principal, id).await?;
        let part = acceptable(&session, &incoming)?;
        if session.received.contains(part.number) {
            return self.replay(principal, session, part, incoming).await;
        }
        let Some(claim) = self.claims.take(id, part.number).await else { return Err(Error::busy(SUPERSEDED)) };
        let superseded = claim.superseded();
        // Read again under the claim: whoever had it before may have recorded the part.
        let session = self.own_session(principal, id).await?;
        if session.received.contains(part.number) {
            drop(claim);
            return self.replay(principal, session, part, incoming).await;
        }
        if !session.status.is_open() {
            return Err(Error::session_closed(&session));
        }
        let reservation = self.reserve_room(part.size_bytes).await?;
        let this = Arc::clone(self);
        // To the end: an upload that was begun and whose id is not kept stays with the store for ever.
        let mut session = run_detached(async move { this.begun(session).await }).await?;
        let IncomingPart { declared_sha256, body, .. } = incoming;
        let mut body = Body { inner: body, part, received_bytes: 0, superseded };
        let mut writer = match self.storage.part_writer(&session, part, Arc::new((claim, reservation))).await {
            Ok(writer) => writer,
            Err(error) => return Err(self.refuse_failed(&session, error, lacks(part)).await),
        };
        while let Some(bytes) = body.next().await? {
            writer.push(bytes).await?;
            self.keep_alive(&mut session).await?;
        }
        let staged = writer.finish().await?;
        if let Some(declared) = declared_sha256.filter(|declared| *declared != staged.sha256()) {
            return Err(Error::checksum_mismatch("part", declared, staged.sha256()));
        }
        let this = Arc::clone(self);
        run_detached(async move { this.persist(session, part, staged).await }).await
    }

    /// The session with the storage's id of its upload, where there is one. Of two first parts at once, one begins it.
    async fn begun(&self, mut session: Session) -> Result<Session> {
        if session.storage_upload_id.is_some() {
            return Ok(session);
        }
        if let Some(begun) = self.storage.begin(&session).await? {
            let kept = self.db.keep_upload_id(&session.owner, session.id, &begun).await?;
            if kept.as_ref() != Some(&begun) {
                self.storage.abandon(&session, &begun).await?;
            }
            if kept.is_none() {
                session = self.db.session(&session.owner, session.id).await?.unwrap_or(session);
                return Err(Error::session_closed(&session));
            }
            session.storage_upload_id = kept;
        }
        Ok(session)
    }

    /// Keeps a session whose bytes are coming in from expiring.
    async fn keep_alive(&self, session: &mut Session) -> Result<()> {
        if let Some(current) = self.renew_if_due(session).await? {
            if !current.session.status.is_open() {
                return Err(Error::session_closed(&current.session));
            }
            session.expires_at = current.session.expires_at;
        }
        Ok(())
    }

    /// Renews the time-to-live of a session in use if that is due: answers the upload then, as it is now. Otherwise it
    /// costs nothing.
    pub(super) async fn renew_if_due(&self, session: &Session) -> Result<Option<Upload>> {
        let (now, ttl) = (self.clock.now(), self.limits.session_ttl);
        if !session.is_renewal_due(now, ttl) {
            return Ok(None);
        }
        let renew = |upload: &mut Upload| upload.session.keep_alive(now, ttl);
        let (upload, _) = self.db.change_upload(Some(&session.owner), session.id, renew).await?;
        Ok(Some(upload))
    }

    /// Answers for a part that is there: the body is read and hashed, nothing is written.
    async fn replay<B>(
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
        let mut body = Body { inner: incoming.body, part, received_bytes: 0, superseded: CancellationToken::new() };
        let mut hasher = Sha256::new();
        while let Some(bytes) = body.next().await? {
            hasher.update(&bytes);
            self.keep_alive(&mut session).await?;
        }
        let received = hasher.into();
        if let Some(declared) = declared.filter(|declared| *declared != received) {
            return Err(Error::checksum_mismatch("part", declared, received));
        }
        // Counters as they are now, not as they were before a long body.
        let session = self.own_session(principal, session.id).await?;
        let receipt = compare(session.clone(), before, received)?;
        match self.storage.check_upload(&session).await {
            Err(error @ storage::Error::Lost(_)) if session.status.is_open() => {
                Err(self.refuse_failed(&session, error, |_| true).await)
            }
            // What cannot be looked at now is not lost.
            _ => Ok(receipt),
        }
    }
}

/// What can be refused before the body is read.
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

/// A part's body, held to its exact size.
struct Body<B> {
    inner: B,
    part: Part,
    received_bytes: u64,
    superseded: CancellationToken,
}

impl<B> Body<B>
where
    B: Stream<Item = Result<Bytes, BodyFault>> + Unpin,
{
    async fn next(&mut self) -> Result<Option<Bytes>> {
        let next = tokio::select! {
            biased;
            () = self.superseded.cancelled() => return Err(Error::busy(SUPERSEDED)),
            next = self.inner.next() => next,
        };
        let mismatch = |received| Err(Error::part_size_mismatch(self.part.size_bytes, received));
        match next {
            Some(Ok(bytes)) => {
                self.received_bytes += bytes.len() as u64;
                // One byte too many is enough to know.
                if self.received_bytes > self.part.size_bytes { mismatch(self.received_bytes) } else { Ok(Some(bytes)) }
            }
            None if self.received_bytes == self.part.size_bytes => Ok(None),
            None => mismatch(self.received_bytes),
            Some(Err(BodyFault::Refused(error))) => Err(error),
            Some(Err(BodyFault::Stopped)) => Err(Error::body_cut(self.part.size_bytes, self.received_bytes)),
        }
    }
}

//! The way of appended bytes into parts.
//!
//! Owns the loop over the parts that an append touches. Bytes that the session has already are compared, and all others are
//! written. A part is recorded as soon as it is whole; the first bytes of the last one become its tail. If the body is
//! verified, nothing is recorded before its end. Does not own when an append may write: that is `right`. Does not own the
//! records: those are in `record`.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::Stream;
use sha2::{Digest, Sha256};
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};

use super::{Shared, body::AppendBody};
use crate::{
    domain::{Part, Session, Sha256Digest},
    error::{Error, Result},
    service::{
        BodyFault, Service,
        claims::{Claim, Seat},
        lost::still_needs,
        receive::SUPERSEDED,
    },
    storage::{MultipartStorage, StagedPart},
};

/// An append under way.
pub(super) struct Run<'a, B> {
    pub(super) service: &'a Service,
    /// The session, as of the last read.
    pub(super) session: Session,
    /// The offset in the file of the first byte.
    pub(super) begin: u64,
    /// The offset in the file of the next byte.
    pub(super) offset: u64,
    pub(super) body: AppendBody<B>,
    pub(super) shared: Arc<Shared>,
    /// Until the append claims the session: it compares bytes, and needs no right.
    pub(super) seat: Option<Seat<Shared>>,
    /// The right to write. The storage keeps it until its last write has ended, so that the next append waits for that.
    pub(super) claim: Option<Arc<Claim<Shared>>>,
    /// Bytes that are written and wait for the end of a verified body.
    held: Vec<Piece>,
}

/// The bytes of one part that an append has written.
pub(super) struct Piece {
    /// The session when they were written. It has the tail that they continue.
    pub(super) session: Session,
    pub(super) part: Part,
    /// The offset in the file of the first byte after them.
    pub(super) end: u64,
    pub(super) staged: Box<dyn StagedPart>,
    /// Stops the body if a request for the part takes it over.
    pub(super) _put: AbortOnDropHandle<()>,
}

impl<'a, B> Run<'a, B>
where
    B: Stream<Item = Result<Bytes, BodyFault>> + Unpin + Send,
{
    pub(super) fn new(
        service: &'a Service,
        session: Session,
        begin: u64,
        body: AppendBody<B>,
        seat: Seat<Shared>,
    ) -> Self {
        let (shared, seat) = (seat.shared(), Some(seat));
        Self { service, session, begin, offset: begin, body, shared, seat, claim: None, held: Vec::new() }
    }

    /// Receives the whole body. Returns the offset after it, and the session.
    pub(super) async fn run(mut self) -> Result<(u64, Session)> {
        self.check_begin()?;
        while self.body.has_more().await? {
            match self.session.plan.part_at(self.offset) {
                Some(part) if durable_end(&self.session, part) > self.offset => self.compare(part).await?,
                Some(part) => {
                    if self.take_right(part).await? {
                        self.write(part).await?;
                    }
                }
                None => return Err(self.too_large()),
            }
        }
        for piece in std::mem::take(&mut self.held) {
            self.record(piece).await?;
        }
        self.end_comparison().await?;
        self.record_compared().await?;
        if self.claim.is_some() && self.body.has_ended_well() {
            *self.shared.began_at.lock() = None;
        }
        match self.body.into_fault() {
            Some(fault) => Err(fault),
            None => Ok((self.offset, self.session)),
        }
    }

    /// Compares bytes with those that the session has of this part.
    async fn compare(&mut self, part: Part) -> Result<()> {
        let (begin, end) = (self.offset, durable_end(&self.session, part));
        let mut hasher = Sha256::new();
        while self.offset < end
            && let Some(bytes) = self.body.next(end - self.offset).await?
        {
            hasher.update(&bytes);
            self.offset += bytes.len() as u64;
            self.service.keep_alive(&mut self.session).await?;
        }
        let stored = self.stored(part, begin).await?;
        let received = hasher.into();
        if stored == received { Ok(()) } else { Err(Error::part_conflict(stored, received)) }
    }

    /// The digest of the stored bytes from `begin` to the present offset, in this part.
    async fn stored(&mut self, part: Part, begin: u64) -> Result<Sha256Digest> {
        let session = &self.session;
        if begin == part.offset_bytes && self.offset == durable_end(session, part) {
            if let Some(tail) = session.tail_of(part) {
                return Ok(tail.sha256);
            }
            if let Some(record) = self.service.db.part(session, part.number).await? {
                return Ok(record.sha256);
            }
        }
        match self.service.storage.hash(session, Sha256::new(), begin..self.offset).await {
            Ok(Some(hasher)) => Ok(hasher.into()),
            // An object store returns no part of a part.
            Ok(None) => Err(self.mismatch()),
            Err(error) => Err(self.service.resolve_to_error(session, error, |_| true).await),
        }
    }

    /// Writes the next bytes of a part, up to its end.
    async fn write(&mut self, part: Part) -> Result<()> {
        let (service, begin, session_claim) = (self.service, self.offset, self.claim.clone());
        let claim = service.claims.take(self.session.id, part.number).await.ok_or_else(|| Error::busy(SUPERSEDED))?;
        let put = self.watch_for_put(claim.superseded());
        self.read_session_again().await?;
        match durable_end(&self.session, part) {
            // Another request has recorded bytes of the part, so the next turn compares them.
            end if end > begin => return Ok(()),
            end if end < begin => return Err(self.mismatch()),
            _ => {}
        }
        self.check_held(part)?;
        let room = service.reserve_room(part.end() - begin).await?;
        self.session = service.ensure_upload_started(self.session.clone()).await?;
        let guard = Arc::new((claim, session_claim, room));
        let mut writer = match service.storage.part_writer(&self.session, part, guard).await {
            Ok(writer) => writer,
            Err(error) => {
                return Err(service.resolve_to_error(&self.session, error, still_needs(&self.session, part)).await);
            }
        };
        while self.offset < part.end()
            && let Some(bytes) = self.body.next(part.end() - self.offset).await?
        {
            self.offset += bytes.len() as u64;
            writer.push(bytes).await?;
            service.keep_alive(&mut self.session).await?;
        }
        let staged = writer.finish().await?;
        // One byte too many is enough to refuse the last part.
        if self.offset == self.session.plan.total_size_bytes() && self.body.has_more().await? {
            return Err(self.too_large());
        }
        let piece = Piece { session: self.session.clone(), part, end: self.offset, staged, _put: put };
        match self.body.is_verified {
            true => self.held.push(piece),
            false => self.record(piece).await?,
        }
        Ok(())
    }

    /// Stops the body if a request for a part that is not recorded yet takes it over.
    fn watch_for_put(&mut self, superseded: CancellationToken) -> AbortOnDropHandle<()> {
        if self.held.is_empty() {
            self.body.put = CancellationToken::new();
        }
        let put = self.body.put.clone();
        AbortOnDropHandle::new(tokio::spawn(async move {
            superseded.cancelled().await;
            put.cancel();
        }))
    }

    /// An object store buffers parts. Those of a verified body stay in memory until its end.
    fn check_held(&self, part: Part) -> Result<()> {
        let held_bytes: u64 = self.held.iter().map(|piece| piece.part.size_bytes).sum();
        match self.service.storage.as_multipart().map(MultipartStorage::max_held_bytes) {
            Some(max_bytes) if held_bytes > 0 && held_bytes + part.size_bytes > max_bytes => {
                Err(Error::too_large("an append that carries a digest", max_bytes))
            }
            _ => Ok(()),
        }
    }

    pub(super) async fn read_session_again(&mut self) -> Result<()> {
        let Session { owner, id, .. } = &self.session;
        let now = self.service.db.session(owner, *id).await?.ok_or_else(|| Error::not_found("session"))?;
        self.session = now;
        if self.session.status.is_open() { Ok(()) } else { Err(Error::session_closed(&self.session)) }
    }

    fn too_large(&self) -> Error {
        Error::too_large("this file", self.session.plan.total_size_bytes())
    }

    /// The client must ask where to go on.
    pub(super) fn mismatch(&self) -> Error {
        Error::offset_mismatch(self.session.contiguous_bytes(), self.begin)
    }
}

/// The end of the durable bytes at the beginning of a part.
pub(super) fn durable_end(session: &Session, part: Part) -> u64 {
    match session.tail_of(part) {
        Some(tail) => tail.end(),
        None if session.received.contains(part.number) => part.end(),
        None => part.offset_bytes,
    }
}

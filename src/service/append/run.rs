//! The way of appended bytes into parts and tails.
//!
//! Owns the loop over the parts that an append touches. Bytes that the session has already are compared, and all others are
//! written. A part is recorded as soon as it is whole; the first bytes of the last one become its tail. If the body is
//! verified, nothing is recorded before its end. Bytes are acknowledged only if this append recorded or compared them: if
//! another request recorded the same part first, the client must ask where to go on.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::Stream;
use parking_lot::Mutex;
use sha2::{Digest, Sha256};
use tokio_util::sync::CancellationToken;

use super::body::AppendBody;
use crate::{
    domain::{Part, Session, Sha256Digest, Tail, Upload},
    error::{Code, Error, Result},
    service::{
        BodyFault, Disposition, Receipt, Service,
        claims::Claim,
        events::Event,
        persist::{WholePart, lacks},
        receive::SUPERSEDED,
    },
    storage::{MultipartStorage, PersistedTail, StagedPart},
};

/// An append that may write.
pub(super) struct Run<'a, B> {
    service: &'a Service,
    /// The session, as of the last read.
    session: Session,
    /// The offset in the file of the next byte.
    offset: u64,
    body: AppendBody<B>,
    /// The storage keeps it until its last write has ended, so that the next append waits for that.
    claim: Arc<Claim<Mutex<Option<u64>>>>,
    /// Bytes that are written and wait for the end of a verified body.
    held: Vec<Piece>,
}

/// The bytes of one part that an append has written.
struct Piece {
    /// The session when they were written. It has the tail that they continue.
    session: Session,
    part: Part,
    /// The offset in the file of the first byte after them.
    end: u64,
    staged: Box<dyn StagedPart>,
}

impl<'a, B> Run<'a, B>
where
    B: Stream<Item = Result<Bytes, BodyFault>> + Unpin + Send,
{
    pub(super) fn new(
        service: &'a Service,
        session: Session,
        offset: u64,
        body: AppendBody<B>,
        claim: Arc<Claim<Mutex<Option<u64>>>>,
    ) -> Self {
        Self { service, session, offset, body, claim, held: Vec::new() }
    }

    /// Receives the whole body. Returns the offset after it, and the session.
    pub(super) async fn run(mut self) -> Result<(u64, Session)> {
        while self.body.has_more(&CancellationToken::new()).await? {
            match self.session.plan.part_at(self.offset) {
                Some(part) if durable_end(&self.session, part) > self.offset => self.compare(part).await?,
                Some(part) => self.write(part).await?,
                None => return Err(self.too_large()),
            }
        }
        for piece in std::mem::take(&mut self.held) {
            self.record(piece).await?;
        }
        self.record_compared().await?;
        match self.body.into_fault() {
            Some(fault) => Err(fault),
            None => Ok((self.offset, self.session)),
        }
    }

    /// Compares bytes with those that the session has of this part.
    async fn compare(&mut self, part: Part) -> Result<()> {
        let (begin, end) = (self.offset, durable_end(&self.session, part));
        let (mut hasher, nobody) = (Sha256::new(), CancellationToken::new());
        while self.offset < end
            && let Some(bytes) = self.body.next(end - self.offset, &nobody).await?
        {
            hasher.update(&bytes);
            self.offset += bytes.len() as u64;
            self.service.keep_alive(&mut self.session).await?;
        }
        if self.offset == begin {
            return Ok(());
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
            Ok(None) => Err(Error::offset_mismatch(session.contiguous_bytes(), begin)),
            Err(error) => Err(self.service.resolve_to_error(session, error, |_| true).await),
        }
    }

    /// Writes the next bytes of a part, up to its end.
    async fn write(&mut self, part: Part) -> Result<()> {
        let (service, begin) = (self.service, self.offset);
        let claim = service.claims.take(self.session.id, part.number).await.ok_or_else(|| Error::busy(SUPERSEDED))?;
        let put = claim.superseded();
        self.read_session_again().await?;
        match durable_end(&self.session, part) {
            // Another request has recorded bytes of the part, so the next turn compares them.
            end if end > begin => return Ok(()),
            end if end < begin => return Err(self.mismatch(begin)),
            _ => {}
        }
        self.check_held(part)?;
        let room = service.reserve_room(part.end() - begin).await?;
        self.session = service.ensure_upload_started(self.session.clone()).await?;
        let guard = Arc::new((claim, Arc::clone(&self.claim), room));
        let mut writer = match service.storage.part_writer(&self.session, part, guard).await {
            Ok(writer) => writer,
            Err(error) => {
                let tail = self.session.tail_of(part);
                let proves = |now: &Session| lacks(part)(now) && now.tail_of(part) == tail;
                return Err(service.resolve_to_error(&self.session, error, proves).await);
            }
        };
        while self.offset < part.end()
            && let Some(bytes) = self.body.next(part.end() - self.offset, &put).await?
        {
            self.offset += bytes.len() as u64;
            writer.push(bytes).await?;
            service.keep_alive(&mut self.session).await?;
        }
        if self.offset == begin {
            return Ok(());
        }
        let staged = writer.finish().await?;
        // One byte too many is enough to refuse the last part.
        if self.offset == self.session.plan.total_size_bytes() && self.body.has_more(&put).await? {
            return Err(self.too_large());
        }
        let piece = Piece { session: self.session.clone(), part, end: self.offset, staged };
        match self.body.is_verified {
            true => self.held.push(piece),
            false => self.record(piece).await?,
        }
        Ok(())
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

    async fn record(&mut self, piece: Piece) -> Result<()> {
        self.session = match piece.end == piece.part.end() {
            true => self.record_part(piece).await?,
            false => self.record_tail(piece).await?,
        };
        Ok(())
    }

    async fn record_part(&mut self, Piece { session, part, staged, .. }: Piece) -> Result<Session> {
        match self.service.persist(session, WholePart { part, staged, is_appended: true }).await {
            Ok(Receipt { disposition: Disposition::New, session, .. }) => Ok(session),
            Err(error) if error.code() != Code::PartConflict => Err(error),
            // Another request has recorded the part, with these or other bytes.
            _ => {
                self.read_session_again().await?;
                Err(self.mismatch(part.offset_bytes))
            }
        }
    }

    async fn record_tail(&mut self, Piece { session, part, end, staged }: Piece) -> Result<Session> {
        let (service, sha256) = (self.service, staged.sha256());
        let PersistedTail { write_guard, location } = match staged.persist_as_tail().await {
            Ok(persisted) => persisted,
            Err(error) => return Err(service.resolve_to_error(&session, error, lacks(part)).await),
        };
        let before = session.tail_of(part);
        let tail = Tail { part, bytes: end - part.offset_bytes, sha256, location };
        let (now, ttl) = (service.clock.now(), service.limits.session_ttl);
        let append =
            |upload: &mut Upload| upload.session.append_tail(tail.clone(), before.map(|tail| tail.sha256), now, ttl);
        let (upload, _) = service.db.change_upload(Some(&session.owner), session.id, append).await?;
        drop(write_guard);
        // Also true if an earlier attempt committed it and only the answer was lost.
        if upload.session.tail.as_ref() == Some(&tail) && upload.session.status.is_open() {
            service.announce(Event::TailReceived(&upload.session, &tail));
            service.discard_tail(before.filter(|before| before.location != tail.location)).await;
            return Ok(upload.session);
        }
        service.discard_tail(Some(&tail)).await;
        service.free_without_file(&upload.session).await?;
        self.session = upload.session;
        match self.session.status.is_open() {
            true => Err(self.mismatch(part.offset_bytes)),
            false => Err(Error::session_closed(&self.session)),
        }
    }

    /// Records that this append has compared bytes that were durable before. Otherwise the next append could not begin after
    /// them if more parts follow.
    async fn record_compared(&mut self) -> Result<()> {
        if self.offset <= self.session.append_offset {
            return Ok(());
        }
        let (offset, now) = (self.offset, self.service.clock.now());
        let advance = |upload: &mut Upload| upload.session.append_compared(offset, now);
        let (upload, _) = self.service.db.change_upload(Some(&self.session.owner), self.session.id, advance).await?;
        self.session = upload.session;
        if self.session.append_offset < offset { Err(self.mismatch(offset)) } else { Ok(()) }
    }

    async fn read_session_again(&mut self) -> Result<()> {
        let Session { owner, id, .. } = &self.session;
        let now = self.service.db.session(owner, *id).await?.ok_or_else(|| Error::not_found("session"))?;
        self.session = now;
        if self.session.status.is_open() { Ok(()) } else { Err(Error::session_closed(&self.session)) }
    }

    fn too_large(&self) -> Error {
        Error::too_large("this file", self.session.plan.total_size_bytes())
    }

    fn mismatch(&self, provided: u64) -> Error {
        Error::offset_mismatch(self.session.contiguous_bytes(), provided)
    }
}

/// The end of the durable bytes at the beginning of a part.
fn durable_end(session: &Session, part: Part) -> u64 {
    match session.tail_of(part) {
        Some(tail) => tail.end(),
        None if session.received.contains(part.number) => part.end(),
        None => part.offset_bytes,
    }
}

//! The way of appended bytes into parts and tails.
//!
//! Owns the loop over the parts that an append touches, and when it takes the right to write from an older append. Bytes that the session has already are compared, and all others are
//! written. A part is recorded as soon as it is whole; the first bytes of the last one become its tail. If the body is
//! verified, nothing is recorded before its end. Bytes are acknowledged only if this append recorded or compared them: if
//! another request recorded the same part first, the client must ask where to go on.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::Stream;
use sha2::{Digest, Sha256};
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};

use super::{Shared, body::AppendBody, may_begin};
use crate::{
    domain::{Part, Session, Sha256Digest, Tail, Upload},
    error::{Code, Error, Result},
    service::{
        BodyFault, Disposition, Receipt, Service,
        claims::{Claim, Seat},
        events::Event,
        lost::still_needs,
        persist::WholePart,
        receive::SUPERSEDED,
    },
    storage::{MultipartStorage, PersistedTail, StagedPart},
};

/// An append under way.
pub(super) struct Run<'a, B> {
    service: &'a Service,
    /// The session, as of the last read.
    session: Session,
    /// The offset in the file of the first byte.
    begin: u64,
    /// The offset in the file of the next byte.
    offset: u64,
    body: AppendBody<B>,
    right: Right,
    /// Bytes that are written and wait for the end of a verified body.
    held: Vec<Piece>,
}

/// The right to write.
enum Right {
    /// Not needed yet: the append compares bytes.
    None(Seat<Shared>),
    /// It is being taken.
    Taking,
    /// The storage keeps it until its last write has ended, so that the next append waits for that.
    Taken(Arc<Claim<Shared>>),
}

/// The bytes of one part that an append has written.
struct Piece {
    /// The session when they were written. It has the tail that they continue.
    session: Session,
    part: Part,
    /// The offset in the file of the first byte after them.
    end: u64,
    staged: Box<dyn StagedPart>,
    _put: AbortOnDropHandle<()>,
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
        Self { service, session, begin, offset: begin, body, right: Right::None(seat), held: Vec::new() }
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
        if self.body.has_ended_well() {
            *self.shared().began_at.lock() = None;
        }
        match self.body.into_fault() {
            Some(fault) => Err(fault),
            None => Ok((self.offset, self.session)),
        }
    }

    fn shared(&self) -> &Shared {
        match &self.right {
            Right::None(seat) => seat.shared(),
            Right::Taken(claim) => claim.shared(),
            Right::Taking => unreachable!("nobody asks meanwhile"),
        }
    }

    /// Checks that the append may begin where it begins, as long as it has not written.
    fn check_begin(&self) -> Result<()> {
        let Right::None(seat) = &self.right else { return Ok(()) };
        let before = *seat.shared().began_at.lock();
        match may_begin(&self.session, self.begin, before) {
            true => Ok(()),
            false => Err(self.mismatch(self.begin)),
        }
    }

    /// Takes the right to write from an older append, once this one has compared all bytes that are durable. So a request that
    /// would be refused stops no other. False if more bytes have become durable meanwhile.
    async fn take_right(&mut self, part: Part) -> Result<bool> {
        let seat = match std::mem::replace(&mut self.right, Right::Taking) {
            Right::None(seat) => seat,
            taken => {
                self.right = taken;
                return Ok(true);
            }
        };
        let not_recording = seat.shared().recording.lock().await;
        self.read_session_again().await?;
        let is_next = durable_end(&self.session, part) == self.offset;
        if is_next {
            seat.supersede();
        }
        drop(not_recording);
        if !is_next {
            self.right = Right::None(seat);
            self.check_begin()?;
            return Ok(false);
        }
        let claim = seat.wait().await.ok_or_else(Error::superseded)?;
        self.body.newer = claim.superseded();
        *claim.shared().began_at.lock() = Some(self.begin);
        self.right = Right::Taken(Arc::new(claim));
        Ok(true)
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
        let Right::Taken(right) = &self.right else { return Ok(()) };
        let (service, begin, right) = (self.service, self.offset, Arc::clone(right));
        let claim = service.claims.take(self.session.id, part.number).await.ok_or_else(|| Error::busy(SUPERSEDED))?;
        let put = self.watch_for_put(claim.superseded());
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
        let guard = Arc::new((claim, right, room));
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
        if self.offset == begin {
            return Ok(());
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

    async fn record(&mut self, piece: Piece) -> Result<()> {
        let Right::Taken(right) = &self.right else { return Ok(()) };
        let right = Arc::clone(right);
        let _recording = right.shared().recording.lock().await;
        if right.superseded().is_cancelled() {
            return Err(Error::superseded());
        }
        self.session = match piece.end == piece.part.end() {
            true => self.record_part(piece).await?,
            false => self.record_tail(piece).await?,
        };
        if self.body.has_ended_well() && self.held.is_empty() {
            // Nobody takes over from an append that has ended.
            *right.shared().began_at.lock() = None;
        }
        Ok(())
    }

    async fn record_part(&mut self, Piece { session, part, staged, _put, .. }: Piece) -> Result<Session> {
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

    async fn record_tail(&mut self, Piece { session, part, end, staged, _put }: Piece) -> Result<Session> {
        let (service, sha256) = (self.service, staged.sha256());
        let PersistedTail { write_guard, location } = match staged.persist_as_tail().await {
            Ok(persisted) => persisted,
            Err(error) => return Err(service.resolve_to_error(&session, error, still_needs(&session, part)).await),
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

    /// Checks again that an append that has written nothing may begin where it began: the other one may have ended meanwhile.
    async fn end_comparison(&mut self) -> Result<()> {
        let right = std::mem::replace(&mut self.right, Right::Taking);
        if let Right::None(seat) = &right {
            let _not_recording = seat.shared().recording.lock().await;
            self.read_session_again().await?;
        }
        self.right = right;
        if self.offset == self.begin && !self.session.accepts_append_at(self.begin) {
            return Err(self.mismatch(self.begin));
        }
        self.check_begin()
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

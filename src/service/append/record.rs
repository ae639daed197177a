//! The records of an append: parts, tails, and bytes that were compared.
//!
//! Owns the order: the bytes become durable, and are then recorded, unless a newer append has taken over. Bytes are
//! acknowledged only if this append recorded or compared them: if another request recorded the same part first, the client
//! must ask where to go on.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::Stream;

use super::run::{Piece, Run};
use crate::{
    domain::{Session, Tail, Upload},
    error::{Code, Error, Result},
    service::{BodyFault, Disposition, Receipt, events::Event, lost::still_needs, persist::WholePart},
    storage::PersistedTail,
};

impl<B> Run<'_, B>
where
    B: Stream<Item = Result<Bytes, BodyFault>> + Unpin + Send,
{
    /// Records a part, or its first bytes as a tail.
    pub(super) async fn record(&mut self, piece: Piece) -> Result<()> {
        let shared = Arc::clone(&self.shared);
        let _recording = shared.recording.lock().await;
        if self.body.newer.is_cancelled() {
            return Err(Error::superseded());
        }
        self.session = match piece.end == piece.part.end() {
            true => self.record_part(piece).await?,
            false => self.record_tail(piece).await?,
        };
        if self.body.has_ended_well() {
            // Nobody takes over from an append that has ended.
            *shared.began_at.lock() = None;
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
                Err(self.mismatch())
            }
        }
    }

    async fn record_tail(&mut self, Piece { session, part, end, staged, _put }: Piece) -> Result<Session> {
        let (service, sha256) = (self.service, staged.digests().sha256);
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
            true => Err(self.mismatch()),
            false => Err(Error::session_closed(&self.session)),
        }
    }

    /// Records that this append has compared bytes that were durable before. Otherwise the next append could not begin after
    /// them if more parts follow.
    pub(super) async fn record_compared(&mut self) -> Result<()> {
        if self.offset <= self.session.append_offset {
            return Ok(());
        }
        let (offset, now) = (self.offset, self.service.clock.now());
        let advance = |upload: &mut Upload| upload.session.append_compared(offset, now);
        let (upload, _) = self.service.db.change_upload(Some(&self.session.owner), self.session.id, advance).await?;
        self.session = upload.session;
        if self.session.append_offset < offset { Err(self.mismatch()) } else { Ok(()) }
    }
}

//! Appending: bytes that a client sends in the order of the file, in requests of any length.
//!
//! Owns where an append may begin, and its end. The bytes become the parts of the session: a part of which an append brings
//! only the first bytes has a tail until the next append, or a request for the whole part, brings the rest. Does not own the
//! way of the bytes into parts (`run`), when an append takes over from an older one (`right`), and the records (`record`).

mod body;
mod record;
mod right;
mod run;

use std::sync::Arc;

use bytes::Bytes;
use futures_util::Stream;
use parking_lot::Mutex;

use self::{body::AppendBody, run::Run};
use super::{BodyFault, DigestFields, Service, claims::Claims};
use crate::{
    domain::{Principal, Session, SessionId, SessionStatus, Upload},
    error::{Error, Result},
    storage::HeldMemory,
};

/// The appends that are under way.
pub(super) type Appends = Claims<Shared>;

/// What the appends to one session share.
#[derive(Debug, Default)]
pub(super) struct Shared {
    /// The offset at which the append began that writes, or wrote and did not end normally. The client of the next append may
    /// not know yet which parts it has brought.
    began_at: Mutex<Option<u64>>,
    /// Held while an append records bytes. A newer one takes over only in between, so it knows what is recorded.
    recording: tokio::sync::Mutex<()>,
}

/// The key under which an append claims its session. Parts have numbers from 1.
const WHOLE_SESSION: u32 = 0;

/// Bytes that a client appends to a session.
#[derive(Debug)]
pub struct Append<B> {
    /// The offset in the file of the first byte.
    pub offset: u64,
    /// The length, if the client declared it before the body.
    pub declared_bytes: Option<u64>,
    /// Whether the body checks a digest at its end, and fails with [`BodyFault::Refused`] if it is wrong. The server then
    /// records nothing before the end.
    pub is_verified: bool,
    /// Whether the server finalizes the session once it has all bytes.
    pub finalizes: bool,
    /// The bytes.
    pub body: B,
}

/// The acknowledgement: the bytes are durable.
#[derive(Debug)]
pub struct Appended {
    /// The offset of the first byte after them.
    pub offset: u64,
    /// The upload after the append.
    pub upload: Upload,
}

impl Service {
    /// Appends bytes to a session. Returns after they are durable. If the body stops early, what has arrived is kept, unless
    /// the body is verified.
    ///
    /// # Errors
    /// `NOT_FOUND`, `SESSION_CLOSED`. `OFFSET_MISMATCH` with the offset that the server needs. `TOO_LARGE` if there are more
    /// bytes than the file has. `PART_CONFLICT` if bytes that the session has already are not the same. `SUPERSEDED` if a
    /// newer append took over, `BUSY` if a request for the same part did. `UNAVAILABLE` if the body stopped early.
    pub async fn append<B>(
        self: &Arc<Self>,
        principal: &Principal,
        id: SessionId,
        append: Append<B>,
    ) -> Result<Appended>
    where
        B: Stream<Item = Result<Bytes, BodyFault>> + Unpin + Send + 'static,
    {
        let upload = self.status(principal, id).await?;
        let total_bytes = upload.session.plan.total_size_bytes();
        if append.offset.saturating_add(append.declared_bytes.unwrap_or(0)) > total_bytes {
            return Err(Error::too_large("this file", total_bytes));
        }
        if upload.session.file_deleted {
            return Err(Error::session_closed(&upload.session));
        }
        if upload.session.status == SessionStatus::Complete && append.offset == total_bytes {
            AppendBody::new(append.body, append.is_verified).expect_empty(total_bytes).await?;
            return Ok(Appended { offset: total_bytes, upload });
        }
        refuse_ended(&upload.session, append.offset)?;
        let (this, principal) = (Arc::clone(self), principal.clone());
        // Detached: if the client disconnects, the bytes that have arrived must still be recorded. Boxed: the future is large, and
        // every handler that calls this would contain it.
        self.run_detached(Box::pin(async move { this.run_append(&principal, upload.session, append).await })).await
    }

    async fn run_append<B>(
        self: &Arc<Self>,
        principal: &Principal,
        session: Session,
        append: Append<B>,
    ) -> Result<Appended>
    where
        B: Stream<Item = Result<Bytes, BodyFault>> + Unpin + Send,
    {
        let Append { offset, is_verified, finalizes, body, declared_bytes } = append;
        let (id, seat) = (session.id, self.appends.join(session.id, WHOLE_SESSION));
        let _memory = match is_verified {
            true => self.reserve_held(&session, offset, declared_bytes).await?,
            false => None,
        };
        let body = AppendBody::new(body, is_verified);
        let (offset, session) = Run::new(self, session, offset, body, seat).run().await?;
        if finalizes && !session.auto_finalize {
            let now = self.clock.now();
            let change = |upload: &mut Upload| upload.session.finalize_automatically(now);
            self.db.change_upload(Some(&session.owner), id, change).await?;
        }
        let upload = match session.has_all_parts() && (finalizes || session.auto_finalize) {
            true => self.finalize(principal, id, DigestFields::default(), |_| true).await?,
            false => self.status(principal, id).await?,
        };
        match upload.session.file_deleted {
            true => Err(Error::session_closed(&upload.session)),
            false => Ok(Appended { offset, upload }),
        }
    }

    /// Reserves memory for the parts that a verified body holds on an object store until its end.
    async fn reserve_held(
        &self,
        session: &Session,
        offset: u64,
        declared_bytes: Option<u64>,
    ) -> Result<Option<HeldMemory>> {
        let Some(store) = self.storage.as_multipart() else { return Ok(None) };
        let plan = session.plan;
        let end = declared_bytes.map_or(plan.total_size_bytes(), |bytes| offset + bytes);
        let bytes = match (plan.part_at(offset), plan.part_at(end.saturating_sub(1))) {
            (Some(first), Some(last)) if last.number > first.number => last.end() - first.offset_bytes,
            // One part waits for its own memory and holds no other.
            _ => return Ok(None),
        };
        let max_bytes = store.max_held_bytes();
        if bytes > max_bytes && declared_bytes.is_some() {
            return Err(Error::too_large("an append that carries a digest", max_bytes));
        }
        Ok(Some(store.hold(&session.owner, bytes.min(max_bytes)).await?))
    }
}

fn refuse_ended(session: &Session, offset: u64) -> Result<()> {
    match session.status {
        SessionStatus::Init | SessionStatus::InProgress => Ok(()),
        SessionStatus::Complete => Err(Error::offset_mismatch(session.plan.total_size_bytes(), offset)),
        SessionStatus::Failed | SessionStatus::Aborted => Err(Error::session_closed(session)),
    }
}

/// Whether an append may begin at this offset: where the session goes on, or below it, if it takes over from an append that
/// began at `before`. Its client asked for the offset while that one was under way. So it was told where that one began, or
/// the end of a part that it had brought by then.
fn may_begin(session: &Session, offset: u64, before: Option<u64>) -> bool {
    if session.accepts_append_at(offset) {
        return true;
    }
    let Some(before) = before else { return false };
    let begins_part = offset.is_multiple_of(session.plan.chunk_size_bytes());
    (before..=session.contiguous_bytes()).contains(&offset) && (offset == before || begins_part)
}

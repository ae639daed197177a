//! Appending: bytes that a client sends in the order of the file, in requests of any length.
//!
//! Owns which append may begin, and its end. A newer append takes over from an older one, because the older one is usually on
//! a dead connection. The bytes become the parts of the session: a part of which an append brings only the first bytes has a
//! tail until the next append, or a request for the whole part, brings the rest. Does not own the way of the bytes into parts:
//! that is `run`.

mod body;
mod run;

use std::sync::Arc;

use bytes::Bytes;
use futures_util::Stream;
use parking_lot::Mutex;

use self::{body::AppendBody, run::Run};
use super::{BodyFault, DigestFields, Service, claims::Claims, run_detached};
use crate::{
    domain::{Principal, Session, SessionId, SessionStatus, Upload},
    error::{Error, Result},
};

/// The appends that are under way. If one does not end normally, it leaves the offset at which it began: the client of the
/// next append may not know yet which parts it has brought.
pub(super) type Appends = Claims<Mutex<Option<u64>>>;

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
        if upload.session.status == SessionStatus::Complete && append.offset == total_bytes {
            return Ok(Appended { offset: total_bytes, upload });
        }
        refuse_ended(&upload.session, append.offset)?;
        let (this, principal) = (Arc::clone(self), principal.clone());
        // Detached: if the client disconnects, the bytes that have arrived must still be recorded. Boxed: the future is large, and
        // every handler that calls this would contain it.
        run_detached(Box::pin(async move { this.run_append(&principal, id, append).await })).await
    }

    async fn run_append<B>(
        self: &Arc<Self>,
        principal: &Principal,
        id: SessionId,
        append: Append<B>,
    ) -> Result<Appended>
    where
        B: Stream<Item = Result<Bytes, BodyFault>> + Unpin + Send,
    {
        let Append { offset, is_verified, finalizes, body, .. } = append;
        let claim = self.appends.take(id, WHOLE_SESSION).await.ok_or_else(Error::superseded)?;
        let session = self.own_session(principal, id).await?;
        refuse_ended(&session, offset)?;
        if !session.accepts_append_at(offset) && !takes_over(&session, offset, *claim.left().lock()) {
            return Err(Error::offset_mismatch(session.contiguous_bytes(), offset));
        }
        *claim.left().lock() = Some(offset);
        let body = AppendBody::new(body, claim.superseded(), is_verified);
        let claim = Arc::new(claim);
        let (offset, session) = Run::new(self, session, offset, body, Arc::clone(&claim)).run().await?;
        *claim.left().lock() = None;
        drop(claim);
        let upload = match session.has_all_parts() && (finalizes || session.auto_finalize) {
            true => self.finalize_appended(principal, session).await?,
            false => self.status(principal, id).await?,
        };
        Ok(Appended { offset, upload })
    }

    /// Finalizes a session after its last append. If that fails, the next status read or the sweep does it: the client may
    /// never ask for it again.
    async fn finalize_appended(self: &Arc<Self>, principal: &Principal, session: Session) -> Result<Upload> {
        if !session.auto_finalize {
            let now = self.clock.now();
            let change = |upload: &mut Upload| upload.session.finalize_automatically(now);
            self.db.change_upload(Some(&session.owner), session.id, change).await?;
        }
        self.finalize(principal, session.id, DigestFields::default(), |_| true).await
    }
}

fn refuse_ended(session: &Session, offset: u64) -> Result<()> {
    match session.status {
        SessionStatus::Init | SessionStatus::InProgress => Ok(()),
        SessionStatus::Complete => Err(Error::offset_mismatch(session.plan.total_size_bytes(), offset)),
        SessionStatus::Failed | SessionStatus::Aborted => Err(Error::session_closed(session)),
    }
}

/// Whether an append may begin below the end of the durable bytes, because it takes over from an append that began at
/// `before`. Its client asked for the offset while that one was under way. So it was told where that one began, or the end of
/// a part that it had brought by then.
fn takes_over(session: &Session, offset: u64, before: Option<u64>) -> bool {
    let Some(before) = before else { return false };
    let begins_part = offset.is_multiple_of(session.plan.chunk_size_bytes());
    (before..=session.contiguous_bytes()).contains(&offset) && (offset == before || begins_part)
}

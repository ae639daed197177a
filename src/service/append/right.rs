//! The right of an append to write.
//!
//! Owns when an append takes over from an older one: once it has compared all durable bytes and has more. So a request that
//! would be refused stops no other. It takes over only while the older one records nothing, so it knows what is recorded.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::Stream;

use super::{
    may_begin,
    run::{Run, durable_end},
};
use crate::{
    domain::Part,
    error::{Error, Result},
    service::BodyFault,
};

impl<B> Run<'_, B>
where
    B: Stream<Item = Result<Bytes, BodyFault>> + Unpin + Send,
{
    /// Checks that an append that has written nothing may begin where it begins.
    pub(super) fn check_begin(&self) -> Result<()> {
        let older_began_at = *self.shared.began_at.lock();
        match self.claim.is_some() || may_begin(&self.session, self.begin, older_began_at) {
            true => Ok(()),
            false => Err(self.mismatch()),
        }
    }

    /// Takes the right to write the next bytes of this part. False if more bytes have become durable meanwhile, which the
    /// append must compare first.
    pub(super) async fn take_right(&mut self, part: Part) -> Result<bool> {
        if self.claim.is_some() {
            return Ok(true);
        }
        let shared = Arc::clone(&self.shared);
        let not_recording = shared.recording.lock().await;
        self.read_session_again().await?;
        let durable_end = durable_end(&self.session, part);
        if durable_end != self.offset {
            self.check_begin()?;
            return if durable_end > self.offset { Ok(false) } else { Err(self.mismatch()) };
        }
        let seat = self.seat.take().ok_or_else(Error::superseded)?;
        seat.supersede();
        drop(not_recording);
        let claim = seat.wait().await.ok_or_else(Error::superseded)?;
        self.body.newer = claim.superseded();
        *shared.began_at.lock() = Some(self.begin);
        self.claim = Some(Arc::new(claim));
        Ok(true)
    }

    /// Checks again whether an append that has written nothing may begin where it began: the older one may have ended
    /// meanwhile.
    pub(super) async fn end_comparison(&mut self) -> Result<()> {
        if self.claim.is_some() {
            return Ok(());
        }
        let shared = Arc::clone(&self.shared);
        let _not_recording = shared.recording.lock().await;
        self.read_session_again().await?;
        if self.offset == self.begin && !self.session.accepts_append_at(self.begin) {
            return Err(self.mismatch());
        }
        self.check_begin()
    }
}

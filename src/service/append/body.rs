//! The body of an append.
//!
//! Owns how its bytes are cut at the borders of parts, and how it ends: at its end, by a fault, or because another request
//! takes over.

use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use tokio_util::sync::CancellationToken;

use crate::{
    error::{Error, Result},
    service::{BodyFault, receive::SUPERSEDED},
};

pub(super) struct AppendBody<B> {
    inner: B,
    /// Bytes that have arrived and that `next` returns first.
    rest: Bytes,
    /// Fires when a newer append to the session takes over.
    pub(super) newer: CancellationToken,
    /// Fires when a request for a part takes over a part of this append.
    pub(super) put: CancellationToken,
    /// Whether a fault makes all bytes worthless.
    pub(super) is_verified: bool,
    end: Option<End>,
}

enum End {
    Whole,
    Fault(Error),
}

impl<B> AppendBody<B>
where
    B: Stream<Item = Result<Bytes, BodyFault>> + Unpin,
{
    pub(super) fn new(inner: B, is_verified: bool) -> Self {
        let (newer, put) = (CancellationToken::new(), CancellationToken::new());
        Self { inner, rest: Bytes::new(), newer, put, is_verified, end: None }
    }

    /// The next bytes, at most `max_bytes`. `None` after the last, and after a fault if the body is not verified.
    ///
    /// # Errors
    /// As those of [`has_more`](Self::has_more).
    pub(super) async fn next(&mut self, max_bytes: u64) -> Result<Option<Bytes>> {
        if !self.has_more().await? {
            return Ok(None);
        }
        let len = usize::try_from(max_bytes).map_or(self.rest.len(), |max| max.min(self.rest.len()));
        Ok(Some(self.rest.split_to(len)))
    }

    /// Waits for more bytes. False after the last, and after a fault if the body is not verified.
    ///
    /// # Errors
    /// `SUPERSEDED` if a newer append took over, `BUSY` if a request for a part did. The fault of a verified body.
    pub(super) async fn has_more(&mut self) -> Result<bool> {
        while self.rest.is_empty() && self.end.is_none() {
            let next = tokio::select! {
                biased;
                () = self.newer.cancelled() => return Err(Error::superseded()),
                () = self.put.cancelled() => return Err(Error::busy(SUPERSEDED)),
                next = self.inner.next() => next,
            };
            match next {
                Some(Ok(bytes)) => self.rest = bytes,
                None => self.end = Some(End::Whole),
                Some(Err(fault)) => {
                    let error = match fault {
                        BodyFault::Refused(error) => error,
                        BodyFault::Stopped => Error::body_stopped(),
                    };
                    if self.is_verified {
                        return Err(error);
                    }
                    self.end = Some(End::Fault(error));
                }
            }
        }
        Ok(!self.rest.is_empty())
    }

    /// Checks that it has no bytes: the file has no room for any.
    ///
    /// # Errors
    /// `TOO_LARGE`. The fault that ended it.
    pub(super) async fn expect_empty(mut self, total_bytes: u64) -> Result<()> {
        if self.has_more().await? {
            return Err(Error::too_large("this file", total_bytes));
        }
        self.into_fault().map_or(Ok(()), Err)
    }

    /// Whether it has ended without a fault, and all its bytes have been returned.
    pub(super) fn has_ended_well(&self) -> bool {
        self.rest.is_empty() && matches!(self.end, Some(End::Whole))
    }

    /// The fault that ended the body.
    pub(super) fn into_fault(self) -> Option<Error> {
        match self.end {
            Some(End::Fault(error)) => Some(error),
            Some(End::Whole) | None => None,
        }
    }
}

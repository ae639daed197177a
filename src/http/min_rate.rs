//! The minimum rate at which a client sends or reads.
//!
//! Owns a token bucket of time. A client begins with a credit of `body_idle_timeout`. The time for which the server waits for
//! the client uses the credit up, and each transferred byte restores `1 / min_transfer_rate` seconds, up to the whole credit.
//! So a client may stall for up to `body_idle_timeout`, and may be slow as long as it keeps the minimum rate. The server's
//! own time costs no credit.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use axum::body::{Body, Bytes, HttpBody};
use http_body::{Frame, SizeHint};
use tokio::time::{Instant, Sleep};

use super::ConnectionSettings;

/// The minimum rate of a client.
#[derive(Clone, Copy, Debug)]
pub(crate) struct MinRate {
    /// Time for which no byte need move: the whole credit.
    pub idle_timeout: Duration,
    /// Minimum bytes per second, averaged over more than `idle_timeout`. If it is 0, any byte restores the whole credit.
    pub bytes_per_second: u64,
}

impl From<&ConnectionSettings> for MinRate {
    fn from(settings: &ConnectionSettings) -> Self {
        Self { idle_timeout: settings.body_idle_timeout, bytes_per_second: settings.min_transfer_rate.0 }
    }
}

/// The time that the server will still wait for a client.
#[derive(Debug)]
pub(super) struct TimeCredit {
    rate: MinRate,
    left: Duration,
    waiting_since: Option<Instant>,
    timer: Option<Pin<Box<Sleep>>>,
}

impl TimeCredit {
    pub(super) fn new(rate: MinRate) -> Self {
        Self { rate, left: rate.idle_timeout, waiting_since: None, timer: None }
    }

    /// The client has sent or read this number of bytes.
    pub(super) fn record(&mut self, bytes: usize) {
        if let Some(since) = self.waiting_since.take() {
            self.left = self.left.saturating_sub(since.elapsed());
        }
        self.refill(bytes);
    }

    fn refill(&mut self, bytes: usize) {
        if self.left == self.rate.idle_timeout {
            return;
        }
        let rate = self.rate.bytes_per_second;
        let restored = if rate == 0 { self.rate.idle_timeout } else { time_for(bytes as u64, rate) };
        self.left = self.left.saturating_add(restored).min(self.rate.idle_timeout);
    }

    /// The server waits for the client now. Ready when the credit is used up.
    pub(super) fn poll_exhausted(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let end = *self.waiting_since.get_or_insert_with(Instant::now) + self.left;
        // The end never becomes earlier, so the timer is reset only when it fires.
        let timer = self.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(end)));
        loop {
            ready!(timer.as_mut().poll(cx));
            if timer.deadline() >= end {
                return Poll::Ready(());
            }
            timer.as_mut().reset(end);
        }
    }
}

fn time_for(bytes: u64, rate: u64) -> Duration {
    Duration::from_micros(bytes.saturating_mul(1_000_000) / rate)
}

/// A request's body that ends with an error if its client sends more slowly than the minimum rate.
#[derive(Debug)]
pub(crate) struct PacedBody {
    body: Body,
    credit: TimeCredit,
}

impl PacedBody {
    /// Wraps a body, unless it is empty.
    pub(crate) fn wrap(body: Body, rate: MinRate) -> Body {
        if body.is_end_stream() { body } else { Body::new(Self { body, credit: TimeCredit::new(rate) }) }
    }
}

impl HttpBody for PacedBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(cx) else {
            ready!(self.credit.poll_exhausted(cx));
            self.body = Body::empty();
            return Poll::Ready(Some(Err(axum::Error::new(BelowMinRate))));
        };
        if let Some(Ok(frame)) = &frame {
            self.credit.record(frame.data_ref().map_or(0, Bytes::len));
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[derive(Debug, thiserror::Error)]
#[error("the client sent the body more slowly than the minimum rate")]
struct BelowMinRate;

#[cfg(test)]
mod tests {
    use futures_util::{StreamExt, stream};

    use super::*;

    const RATE: MinRate = MinRate { idle_timeout: Duration::from_millis(150), bytes_per_second: 1_000 };

    /// The number of bytes that arrive if the client sends `chunk` every 10 ms, 100 times.
    async fn arrived(chunk: &'static [u8]) -> usize {
        let chunks = stream::iter(0..100).then(move |_| async move {
            tokio::time::sleep(Duration::from_millis(10)).await;
            Ok::<_, std::io::Error>(Bytes::from_static(chunk))
        });
        let body = PacedBody::wrap(Body::from_stream(chunks), RATE);
        let arrived = body.into_data_stream().map(|bytes| bytes.map_or(0, |bytes| bytes.len()));
        arrived.fold(0, |sum, bytes| async move { sum + bytes }).await
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_above_the_minimum_rate_sends_its_whole_body_and_one_below_does_not() {
        let (fast, slow) = tokio::join!(arrived(&[0; 1_000]), arrived(&[0; 1]));
        assert_eq!(fast, 100_000);
        assert!(slow < 50, "{slow}");
    }

    #[tokio::test(start_paused = true)]
    async fn the_servers_own_time_uses_no_credit() {
        let body = Body::from_stream(stream::iter([0, 1]).map(|_| Ok::<_, std::io::Error>(Bytes::from_static(b"x"))));
        let mut body = PacedBody::wrap(body, RATE).into_data_stream();
        assert!(body.next().await.unwrap().is_ok());
        tokio::time::sleep(RATE.idle_timeout * 2).await;
        assert!(body.next().await.unwrap().is_ok());
        assert!(body.next().await.is_none());
    }
}

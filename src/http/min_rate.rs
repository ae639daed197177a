//! The least rate at which bytes must move.
//!
//! Owns how slow a peer may be. One that has to send, or to read, has patience to spend: time that it is waited for uses it
//! up, bytes that move bring it back, at most to the whole. So a line may stall for as long as the patience lasts, or be
//! slow for ever; only one that is slower than the least rate ends. Time that the server itself takes costs nothing.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use axum::body::{Body, Bytes, HttpBody};
use http_body::{Frame, SizeHint};
use tokio::time::{Instant, Sleep};

use super::ConnectionSettings;

/// How slow a peer may be.
#[derive(Clone, Copy, Debug)]
pub struct MinRate {
    /// How long nothing may move.
    pub idle_timeout: Duration,
    /// Least bytes a second, over a time longer than that; 0 takes any byte for enough.
    pub bytes_per_second: u64,
}

impl From<&ConnectionSettings> for MinRate {
    fn from(settings: &ConnectionSettings) -> Self {
        Self { idle_timeout: settings.body_idle_timeout, bytes_per_second: settings.min_transfer_rate.0 }
    }
}

/// What is left of a peer's patience.
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

    /// These bytes have moved.
    pub(super) fn record(&mut self, bytes: usize) {
        let Some(since) = self.waiting_since.take() else {
            self.refill(bytes);
            return;
        };
        self.left = self.left.saturating_sub(since.elapsed());
        self.refill(bytes);
    }

    fn refill(&mut self, bytes: usize) {
        if self.left == self.rate.idle_timeout {
            return;
        }
        let rate = self.rate.bytes_per_second;
        let worth = if rate == 0 { self.rate.idle_timeout } else { seconds(bytes as u64, rate) };
        self.left = self.left.saturating_add(worth).min(self.rate.idle_timeout);
    }

    /// Nothing can move now: ready when that has been so for too long.
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

fn seconds(bytes: u64, rate: u64) -> Duration {
    Duration::from_micros(bytes.saturating_mul(1_000_000) / rate)
}

/// A request's body whose sender must keep to the least rate; else it ends with an error.
#[derive(Debug)]
pub struct PacedBody {
    body: Body,
    credit: TimeCredit,
}

impl PacedBody {
    /// Wraps a body that is not at its end yet.
    pub fn wrap(body: Body, rate: MinRate) -> Body {
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
#[error("the body came too slowly")]
struct BelowMinRate;

#[cfg(test)]
mod tests {
    use futures_util::{StreamExt, stream};

    use super::*;

    const RATE: MinRate = MinRate { idle_timeout: Duration::from_millis(150), bytes_per_second: 1_000 };

    /// How many bytes of a body arrive that brings `chunk` bytes every 10 ms, a hundred times.
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
    async fn a_sender_above_the_least_rate_comes_to_its_end_and_one_below_does_not() {
        let (fast, slow) = tokio::join!(arrived(&[0; 1_000]), arrived(&[0; 1]));
        assert_eq!(fast, 100_000);
        assert!(slow < 50, "{slow}");
    }

    #[tokio::test(start_paused = true)]
    async fn time_that_is_not_waited_for_the_sender_costs_nothing() {
        let body = Body::from_stream(stream::iter([0, 1]).map(|_| Ok::<_, std::io::Error>(Bytes::from_static(b"x"))));
        let mut body = PacedBody::wrap(body, RATE).into_data_stream();
        assert!(body.next().await.unwrap().is_ok());
        tokio::time::sleep(RATE.idle_timeout * 2).await;
        assert!(body.next().await.unwrap().is_ok());
        assert!(body.next().await.is_none());
    }
}

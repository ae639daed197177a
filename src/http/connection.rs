//! One connection, from its first byte to its close.
//!
//! Owns the timeouts for a request's head and for an idle connection, and the end of a connection: at once if it has no
//! active request, else after the answer.

use std::{
    convert::Infallible,
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll, ready},
};

use axum::{
    Router,
    body::{Body, Bytes, HttpBody},
    http::{HeaderValue, Request, Response, StatusCode, header},
};
use http_body::{Frame, SizeHint};
use hyper::{body::Incoming, server::conn::http1};
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    time::Instant,
};
use tokio_util::sync::CancellationToken;

use super::{
    host, interim,
    peers::{ActiveRequest, Peer, Timeouts},
    socket::Socket,
};

/// How a connection is served.
#[derive(Clone, Debug)]
pub(super) struct Rules {
    pub(super) router: Router,
    pub(super) timeouts: Timeouts,
    /// Whether the connection may have more than one request.
    pub(super) keeps_alive: bool,
    /// From its cancellation on, each answer has `Connection: close`.
    pub(super) closing: CancellationToken,
    /// Its cancellation ends the connection after the active request.
    pub(super) stop: CancellationToken,
}

/// Serves a connection to its end.
pub(super) async fn serve<S>(socket: Socket<S>, rules: Rules)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let Rules { router, timeouts, keeps_alive, closing, stop } = rules;
    let peer = Arc::clone(socket.peer());
    // HTTP/1.1 alone: clients use HTTP/2 only over TLS, which a proxy terminates.
    let mut http = http1::Builder::new();
    http.keep_alive(keeps_alive);
    let requests =
        Requests { router, peer: Arc::clone(&peer), interim_slot: Arc::clone(socket.interim_slot()), closing };
    let mut connection = pin!(http.serve_connection(TokioIo::new(socket), requests).with_upgrades());
    let mut overdue = pin!(overdue(&peer, timeouts));
    let ended = tokio::select! {
        // The connection comes first: its progress changes what the other branches see.
        biased;
        ended = connection.as_mut() => Some(ended),
        () = overdue.as_mut() => return,
        () = peer.evicted.cancelled() => {
            if peer.idle_since().is_some() {
                return;
            }
            None
        }
        () = stop.cancelled() => None,
    };
    let ended = match ended {
        Some(ended) => ended,
        None => {
            connection.as_mut().graceful_shutdown();
            tokio::select! {
                biased;
                ended = connection => ended,
                () = overdue => return,
            }
        }
    };
    peer.mark_upgraded();
    if let Err(error) = ended {
        // Usually the client has closed the connection, so this is not a warning.
        tracing::debug!(error = &error as &dyn std::error::Error, "connection ended");
    }
}

/// Completes when the connection's current timeout has passed. No wake-up is needed when the timeout changes: it changes only
/// while the connection is polled, which the same task does just before.
async fn overdue(peer: &Peer, timeouts: Timeouts) {
    let mut timer = pin!(tokio::time::sleep(timeouts.first_byte));
    std::future::poll_fn(|cx| {
        loop {
            let Some(end) = peer.deadline(&timeouts) else { return Poll::Pending };
            if timer.deadline() > end {
                timer.as_mut().reset(end);
            }
            ready!(timer.as_mut().poll(cx));
            if Instant::now() >= end {
                return Poll::Ready(());
            }
            timer.as_mut().reset(end);
        }
    })
    .await;
}

/// The router, as hyper calls it.
struct Requests {
    router: Router,
    peer: Arc<Peer>,
    interim_slot: Arc<interim::Slot>,
    closing: CancellationToken,
}

impl hyper::service::Service<Request<Incoming>> for Requests {
    type Response = Response<TrackedBody>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn call(&self, mut request: Request<Incoming>) -> Self::Future {
        let active = self.peer.begin_request();
        // A proxy may parse this request differently, so the server cannot trust the start of the next one.
        let is_last = host::mark_invalid(&mut request);
        let interim = self.interim_slot.begin(&request);
        if let Some(interim) = &interim {
            request.extensions_mut().insert(interim.clone());
        }
        let response = tower::Service::call(&mut self.router.clone(), request.map(Body::new));
        let closing = self.closing.clone();
        Box::pin(async move {
            let mut response = response.await?;
            if let Some(interim) = interim {
                interim.close();
            }
            if (is_last || closing.is_cancelled()) && response.status() != StatusCode::SWITCHING_PROTOCOLS {
                response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
            }
            Ok(response.map(|body| TrackedBody { body, _active: active }))
        })
    }
}

/// A response's body, which keeps the request active until hyper drops it.
struct TrackedBody {
    body: Body,
    _active: ActiveRequest,
}

impl HttpBody for TrackedBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

    use super::*;
    use crate::http::MinRate;

    const SOON: Duration = Duration::from_millis(50);
    const NEVER: Duration = Duration::from_hours(1);

    fn connect(timeouts: Timeouts, answer: &'static str) -> DuplexStream {
        let (near, far) = tokio::io::duplex(64);
        let rate = MinRate { idle_timeout: SOON, bytes_per_second: 0 };
        let router = Router::new().fallback(move || async move { answer });
        let (closing, stop) = (CancellationToken::new(), CancellationToken::new());
        let rules = Rules { router, timeouts, keeps_alive: true, closing, stop };
        tokio::spawn(serve(Socket::new(far, Peer::new(), None, rate), rules));
        near
    }

    async fn rest(mut client: DuplexStream) -> String {
        let mut text = String::new();
        tokio::time::timeout(NEVER, client.read_to_string(&mut text)).await.unwrap().unwrap();
        text
    }

    #[tokio::test(start_paused = true)]
    async fn each_timeout_closes_its_connection() {
        let timeouts = Timeouts { first_byte: SOON, head: NEVER, keep_alive: NEVER };
        assert_eq!(rest(connect(timeouts, "")).await, "");
        let mut half = connect(Timeouts { first_byte: NEVER, head: SOON, keep_alive: NEVER }, "");
        half.write_all(b"GET / HTTP/1.1\r\n").await.unwrap();
        assert_eq!(rest(half).await, "");
        let mut idle = connect(Timeouts { first_byte: NEVER, head: NEVER, keep_alive: SOON }, "hello");
        idle.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
        assert!(rest(idle).await.ends_with("hello"));
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_does_not_read_its_answer_is_disconnected() {
        let answer: &'static str = Box::leak("x".repeat(1_000).into_boxed_str());
        let mut client = connect(Timeouts { first_byte: NEVER, head: NEVER, keep_alive: NEVER }, answer);
        client.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
        tokio::time::sleep(SOON * 4).await;
        let read = rest(client).await;
        assert!(!read.ends_with(answer), "{read}");
    }
}

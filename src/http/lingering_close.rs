//! The lingering close: the server reads on after an early answer.
//!
//! A client whose request is refused before its body was read (no token, wrong length) is still sending. If the server
//! closed the connection now, most clients would report a broken pipe and never see the answer
//! ([RFC 9112 §9.6](https://www.rfc-editor.org/rfc/rfc9112#section-9.6) describes it). So the server reads the rest of the
//! body and discards it, up to a limit, while the answer is on its way. Owns these limits.

use std::{
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use axum::{
    body::{Body, Bytes, HttpBody},
    extract::Request,
    http::header,
};
use futures_util::StreamExt;
use http_body::{Frame, SizeHint};

/// Bytes that the server discards: a few parts of the default size. It closes the connection of a client that sends more.
const MAX_BYTES: usize = 32 * 1024 * 1024;
/// Time that the server spends on discarding them.
const MAX_TIME: Duration = Duration::from_secs(10);

/// Wraps the request's body. If a handler drops it unread, a task reads and discards the rest.
pub(crate) fn drain_unread_body(request: Request) -> Request {
    if request.body().is_end_stream() {
        return request;
    }
    let is_held_back = request.headers().contains_key(header::EXPECT);
    request.map(|body| Body::new(DrainedBody { body: Some(body), is_held_back }))
}

struct DrainedBody {
    body: Option<Body>,
    /// Whether the client waits for `100 Continue`, which hyper sends at the first poll of the body. Until then the client
    /// sends nothing, so there is nothing to discard.
    is_held_back: bool,
}

impl HttpBody for DrainedBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        self.is_held_back = false;
        let Some(body) = &mut self.body else { return Poll::Ready(None) };
        let frame = std::task::ready!(Pin::new(body).poll_frame(cx));
        if !matches!(frame, Some(Ok(_))) {
            self.body = None;
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(HttpBody::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map_or_else(|| SizeHint::with_exact(0), HttpBody::size_hint)
    }
}

impl Drop for DrainedBody {
    fn drop(&mut self) {
        let Some(body) = self.body.take().filter(|body| !body.is_end_stream()) else { return };
        if self.is_held_back {
            return;
        }
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(tokio::time::timeout(MAX_TIME, discard(body)));
        }
    }
}

async fn discard(body: Body) {
    let (mut body, mut read) = (body.into_data_stream(), 0);
    while let Some(Ok(bytes)) = body.next().await {
        read += bytes.len();
        if read > MAX_BYTES {
            return;
        }
    }
}

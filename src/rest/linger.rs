//! Reading on after an early answer.
//!
//! A request that is refused before its body was read (no token, wrong length) has a sender who is still sending. If the
//! connection is closed under them, most clients report a broken pipe and never see the answer
//! ([RFC 9112 §9.6](https://www.rfc-editor.org/rfc/rfc9112#section-9.6) describes it). So what is left of the body is
//! read and thrown away, up to a limit, while the answer is on its way.

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

/// Enough for a few parts of the default size; who sends more than that into a refusal is cut off.
const MAX_BYTES: usize = 32 * 1024 * 1024;
const MAX_TIME: Duration = Duration::from_secs(10);

/// Makes the request's body linger when it is dropped before its end.
pub fn linger(request: Request) -> Request {
    if request.body().is_end_stream() {
        return request;
    }
    let is_held_back = request.headers().contains_key(header::EXPECT);
    request.map(|body| Body::new(Lingering { body: Some(body), is_held_back }))
}

struct Lingering {
    body: Option<Body>,
    /// The sender waits for `100 Continue`, which goes out when the body is first asked for. Until then it sends nothing.
    is_held_back: bool,
}

impl HttpBody for Lingering {
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

impl Drop for Lingering {
    fn drop(&mut self) {
        let Some(body) = self.body.take().filter(|body| !body.is_end_stream()) else { return };
        if self.is_held_back {
            return;
        }
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(tokio::time::timeout(MAX_TIME, throw_away(body)));
        }
    }
}

async fn throw_away(body: Body) {
    let (mut body, mut read) = (body.into_data_stream(), 0);
    while let Some(Ok(bytes)) = body.next().await {
        read += bytes.len();
        if read > MAX_BYTES {
            return;
        }
    }
}

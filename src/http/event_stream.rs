//! Streams of server-sent events
//! ([HTML standard §9.2](https://html.spec.whatwg.org/multipage/server-sent-events.html)).
//!
//! Owns what all such answers have in common: comments on a quiet stream, and the end when the server stops or the token is no
//! longer valid. Does not own the events.

use std::{convert::Infallible, time::Duration};

use axum::{
    http::HeaderName,
    response::{
        IntoResponse, Response,
        sse::{Event, KeepAlive, Sse},
    },
};
use futures_util::{Stream, StreamExt};
use tokio_util::sync::CancellationToken;

/// Time between comments on a quiet stream. Proxies close idle connections.
const KEEP_ALIVE: Duration = Duration::from_secs(12);

/// An answer with these events. It ends with them, when the server stops, or when `token_end` completes.
pub(crate) fn event_stream(
    events: impl Stream<Item = Event> + Send + 'static,
    stopping: CancellationToken,
    token_end: impl Future<Output = ()> + Send + 'static,
) -> Response {
    let interrupted = async move { stopping.run_until_cancelled(token_end).await };
    let events = events.take_until(interrupted).map(Ok::<_, Infallible>);
    // Without this header, nginx buffers the answer.
    let unbuffered = [(HeaderName::from_static("x-accel-buffering"), "no")];
    (unbuffered, Sse::new(events).keep_alive(KeepAlive::new().interval(KEEP_ALIVE))).into_response()
}

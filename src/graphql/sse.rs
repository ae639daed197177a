//! Subscriptions over server-sent events: the "distinct connections" mode of the
//! [GraphQL over SSE protocol](https://github.com/enisdenjo/graphql-sse/blob/master/PROTOCOL.md).

use std::{convert::Infallible, time::Duration};

use async_graphql::Response;
use axum::{
    http::HeaderName,
    response::{
        IntoResponse,
        sse::{Event, KeepAlive, Sse},
    },
};
use futures_util::{Stream, StreamExt, stream};
use tokio_util::sync::CancellationToken;

/// Proxies cut connections on which nothing comes.
const KEEP_ALIVE: Duration = Duration::from_secs(12);

/// An empty line. Without any, readers that follow the standard, such as `EventSource`, do not tell of the event.
const NO_DATA: &str = "\n";

/// One event for each response, and one that says that there are no more. If the server stops first or the token ends, the
/// stream ends without the latter, so that clients connect again: to another node, or to be refused.
pub(super) fn events(
    responses: impl Stream<Item = Response> + Send + 'static,
    stopping: CancellationToken,
    token_end: impl Future<Output = ()> + Send + 'static,
) -> impl IntoResponse {
    let next = responses.map(|response| {
        let data = serde_json::to_string(&response).unwrap_or_default();
        Event::default().event("next").data(data)
    });
    let stopped = stopping.clone();
    // A stopping server ends the responses too, maybe before the stream is asked again whether it stops.
    let complete = async move { (!stopped.is_cancelled()).then(|| Event::default().event("complete").data(NO_DATA)) };
    let events = next.chain(stream::once(complete).filter_map(std::future::ready));
    let interrupted = async move { stopping.run_until_cancelled(token_end).await };
    let events = events.take_until(interrupted).map(Ok::<_, Infallible>);
    // nginx collects an answer before it passes it on, unless told not to.
    let unbuffered = [(HeaderName::from_static("x-accel-buffering"), "no")];
    (unbuffered, Sse::new(events).keep_alive(KeepAlive::new().interval(KEEP_ALIVE)))
}

#[cfg(test)]
mod tests {
    use std::{future::pending, task::Poll};

    use super::*;

    async fn text(events: impl IntoResponse) -> String {
        let body = axum::body::to_bytes(events.into_response().into_body(), 1_000).await.unwrap();
        String::from_utf8(body.to_vec()).unwrap()
    }

    #[tokio::test]
    async fn only_a_stream_that_came_to_its_end_is_complete() {
        let goes_on = CancellationToken::new;
        assert_eq!(text(events(stream::empty(), goes_on(), pending())).await, "event: complete\ndata: \ndata: \n\n");
        assert_eq!(text(events(stream::pending(), goes_on(), async {})).await, "");
        let (stopping, stops) = (CancellationToken::new(), CancellationToken::new());
        stopping.cancel();
        assert_eq!(text(events(stream::empty(), stopping, pending())).await, "");
        // The end comes with the stop, after it was looked whether the server stops.
        let stop = stops.clone();
        let ending = stream::poll_fn(move |_| {
            stop.cancel();
            Poll::Ready(None)
        });
        assert_eq!(text(events(ending, stops, pending())).await, "");
    }
}

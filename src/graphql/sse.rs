//! Operations over server-sent events.
//!
//! Owns the "distinct connections" mode of the
//! [GraphQL over SSE protocol](https://github.com/enisdenjo/graphql-sse/blob/master/PROTOCOL.md). Does not own what all event
//! streams have in common: that is `http/event_stream`.

use async_graphql::Response;
use axum::response::{IntoResponse, sse::Event};
use futures_util::{Stream, StreamExt, stream};
use tokio_util::sync::CancellationToken;

use super::response;
use crate::http::event_stream;

/// An empty line of data. `EventSource` ignores an event without data, as the standard requires.
const NO_DATA: &str = "\n";

/// One `next` event for each response, and a `complete` event at the end. If the server stops or the token ends, the stream
/// ends without `complete`, so that the client connects again: to another node, or to get a refusal.
pub(super) fn events(
    responses: impl Stream<Item = Response> + Send + 'static,
    stopping: CancellationToken,
    token_end: impl Future<Output = ()> + Send + 'static,
) -> impl IntoResponse {
    let next = responses.map(|response| {
        let data = response::to_json(&response);
        Event::default().event("next").data(data)
    });
    let stopped = stopping.clone();
    // A stop also ends the responses. The stream may see that end before it sees the stop, so check again here.
    let complete = async move { (!stopped.is_cancelled()).then(|| Event::default().event("complete").data(NO_DATA)) };
    let events = next.chain(stream::once(complete).filter_map(std::future::ready));
    event_stream(events, stopping, token_end)
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
    async fn only_a_stream_whose_responses_have_ended_is_complete() {
        let running = CancellationToken::new;
        assert_eq!(text(events(stream::empty(), running(), pending())).await, "event: complete\ndata: \ndata: \n\n");
        assert_eq!(text(events(stream::pending(), running(), async {})).await, "");
        let (stopping, stops) = (CancellationToken::new(), CancellationToken::new());
        stopping.cancel();
        assert_eq!(text(events(stream::empty(), stopping, pending())).await, "");
        // The responses end together with the stop, after the stream has checked for the stop.
        let stop = stops.clone();
        let ending = stream::poll_fn(move |_| {
            stop.cancel();
            Poll::Ready(None)
        });
        assert_eq!(text(events(ending, stops, pending())).await, "");
    }
}

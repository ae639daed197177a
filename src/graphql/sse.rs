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

/// Proxies cut connections on which nothing comes.
const KEEP_ALIVE: Duration = Duration::from_secs(12);

/// One event for each response, and one that says that there are no more. If `interrupted` fires first, the stream ends
/// without the latter, so that clients connect again: to another node, or to be refused.
pub(super) fn events(
    responses: impl Stream<Item = Response> + Send + 'static,
    interrupted: impl Future<Output = ()> + Send + 'static,
) -> impl IntoResponse {
    let next = responses.map(|response| {
        let data = serde_json::to_string(&response).unwrap_or_default();
        Ok::<_, Infallible>(Event::default().event("next").data(data))
    });
    let complete = stream::once(async { Ok(Event::default().event("complete").data("")) });
    let events = next.chain(complete).take_until(interrupted);
    // nginx collects an answer before it passes it on, unless told not to.
    let unbuffered = [(HeaderName::from_static("x-accel-buffering"), "no")];
    (unbuffered, Sse::new(events).keep_alive(KeepAlive::new().interval(KEEP_ALIVE)))
}

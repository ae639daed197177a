//! Subscriptions over server-sent events: the "distinct connections" mode of the
//! [GraphQL over SSE protocol](https://github.com/enisdenjo/graphql-sse/blob/master/PROTOCOL.md).

use std::{convert::Infallible, time::Duration};

use async_graphql::Response;
use axum::response::sse::{Event, KeepAlive, Sse};
use futures_util::{Stream, StreamExt, stream};

/// Proxies cut connections on which nothing comes.
const KEEP_ALIVE: Duration = Duration::from_secs(12);

/// One event for each response, and one that says that there are no more.
pub(super) fn events(
    responses: impl Stream<Item = Response> + Send + 'static,
) -> Sse<impl Stream<Item = Result<Event, Infallible>>> {
    let next = responses.map(|response| {
        let data = serde_json::to_string(&response).unwrap_or_default();
        Ok(Event::default().event("next").data(data))
    });
    let complete = stream::once(async { Ok(Event::default().event("complete").data("")) });
    Sse::new(next.chain(complete)).keep_alive(KeepAlive::new().interval(KEEP_ALIVE))
}

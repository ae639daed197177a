//! Change notifications: the GraphQL subscription over server-sent events.
//!
//! Owns the small part of the [event stream format](https://html.spec.whatwg.org/multipage/server-sent-events.html) that
//! shows *that* a session has changed. Does not read the new state: that is `Client::session`.

use futures_util::{Stream, StreamExt, stream};
use serde_json::json;

use super::{api::Client, error::ClientError};

const SUBSCRIPTION: &str = "subscription($id: ID!) { uploadSession(id: $id) { version } }";

impl Client {
    /// Gives one item at once and one after every change of the session. Ends with the session or the connection.
    pub async fn changes(&self, id: &str) -> Result<impl Stream<Item = ()> + use<>, ClientError> {
        let body = json!({ "query": SUBSCRIPTION, "variables": { "id": id } });
        let blocks = self.event_stream(&body).await?.bytes_stream();
        let lines = stream::unfold((Box::pin(blocks), String::new()), |(mut blocks, mut pending)| async move {
            loop {
                if let Some(end) = pending.find('\n') {
                    let line = pending.drain(..=end).collect::<String>();
                    return Some((line, (blocks, pending)));
                }
                pending.push_str(&String::from_utf8_lossy(&blocks.next().await?.ok()?));
            }
        });
        let events = lines.filter_map(|line| async move {
            line.trim_end().strip_prefix("event:").map(|name| name.trim().to_owned())
        });
        Ok(events.take_while(|event| std::future::ready(event != "complete")).map(drop))
    }
}

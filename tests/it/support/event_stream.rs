//! A client of server-sent events.

use axum::body::Body;
use http_body_util::BodyExt;
use serde_json::Value;
use tower::ServiceExt;

use super::{TestUser, in_time};

/// A stream of server-sent events.
pub(crate) struct Events {
    body: Body,
    text: String,
}

impl Events {
    pub(crate) async fn open(user: &TestUser, path: &str, last: Option<&str>) -> Self {
        let request = user.request("GET", path);
        let request = if let Some(last) = last { request.header("last-event-id", last) } else { request };
        let response = user.router.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        assert_eq!(response.headers()["x-accel-buffering"], "no");
        Self { body: response.into_body(), text: String::new() }
    }

    /// The next event with data: its id, and the session. `None` at the end.
    pub(crate) async fn next(&mut self) -> Option<(String, Value)> {
        loop {
            let event = self.next_block().await?;
            if let Some(data) = field(&event, "data:") {
                return Some((field(&event, "id:").unwrap().to_owned(), serde_json::from_str(data).unwrap()));
            }
        }
    }

    /// The id with which the stream begins, without data.
    pub(crate) async fn first_id(&mut self) -> String {
        let event = self.next_block().await.unwrap();
        assert_eq!(field(&event, "data:"), None);
        field(&event, "id:").unwrap().to_owned()
    }

    async fn next_block(&mut self) -> Option<String> {
        while !self.text.contains("\n\n") {
            let frame = in_time(self.body.frame()).await?.unwrap();
            self.text.push_str(&String::from_utf8_lossy(&frame.into_data().unwrap()));
        }
        let (event, rest) = self.text.split_once("\n\n").unwrap();
        let (event, rest) = (event.to_owned(), rest.to_owned());
        self.text = rest;
        Some(event)
    }
}

fn field<'a>(event: &'a str, name: &str) -> Option<&'a str> {
    event.lines().find_map(|line| line.strip_prefix(name)).map(str::trim)
}

//! A receiver of webhooks on its own port. It keeps what it has received, and answers as the test wants.

use std::{collections::VecDeque, sync::Arc};

use axum::{
    Router,
    body::Body,
    extract::State,
    http::{HeaderMap, Response},
};
use futures_util::{StreamExt, future::ready, stream};
use parking_lot::Mutex;
use serde_json::Value;
use tokio::net::TcpListener;

use super::Deadline;

#[derive(Clone, Default)]
pub(crate) struct Receiver {
    pub(crate) url: String,
    received: Arc<Mutex<Vec<Received>>>,
    replies: Arc<Mutex<VecDeque<Reply>>>,
    otherwise: Arc<Mutex<Reply>>,
}

/// A message.
#[derive(Clone, Debug)]
pub(crate) struct Received {
    pub(crate) headers: HeaderMap,
    pub(crate) body: String,
}

/// What the receiver answers.
#[derive(Clone, Copy, Default)]
pub(crate) enum Reply {
    #[default]
    Accept,
    Status(u16),
    /// A status and a header.
    With(u16, &'static str, &'static str),
    /// Nothing, and the connection stays open.
    Hang,
    /// 200 with a body that has no end.
    Endless,
}

impl Receiver {
    /// Accepts everything.
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/hook?key=hidden", listener.local_addr().unwrap());
        let receiver = Self { url, ..Self::default() };
        let router = Router::new().fallback(receive).with_state(receiver.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        receiver
    }

    /// Gives these answers next, and then accepts.
    pub(crate) fn reply(&self, replies: impl IntoIterator<Item = Reply>) {
        self.replies.lock().extend(replies);
    }

    /// Gives this answer from now on.
    pub(crate) fn always(&self, reply: Reply) {
        *self.otherwise.lock() = reply;
    }

    pub(crate) fn received(&self) -> Vec<Received> {
        self.received.lock().clone()
    }

    /// The types of the received events, sorted.
    pub(crate) fn types(&self) -> Vec<String> {
        let type_of = |received: &Received| received.json()["type"].as_str().unwrap().to_owned();
        let mut types: Vec<String> = self.received().iter().map(type_of).collect();
        types.sort();
        types
    }

    /// Waits until this many messages have arrived.
    pub(crate) async fn wait_for(&self, messages: usize) -> Vec<Received> {
        Deadline::new().until("messages of a webhook", async || self.received.lock().len() >= messages).await;
        self.received()
    }
}

impl Received {
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).unwrap().to_str().unwrap()
    }

    pub(crate) fn id(&self) -> &str {
        self.header("webhook-id")
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }

    /// Whether one of the signatures is right for this secret. The time is not compared with the clock, which tests move.
    pub(crate) fn is_signed_by(&self, secret: &str) -> bool {
        let timestamp = self.header("webhook-timestamp").parse().unwrap();
        let webhook = standardwebhooks::Webhook::new(secret).unwrap();
        let expected = webhook.sign(self.id(), timestamp, self.body.as_bytes()).unwrap();
        self.header("webhook-signature").split(' ').any(|signature| signature == expected)
    }
}

async fn receive(State(receiver): State<Receiver>, headers: HeaderMap, body: String) -> Response<Body> {
    receiver.received.lock().push(Received { headers, body });
    let reply = receiver.replies.lock().pop_front();
    let reply = reply.unwrap_or_else(|| *receiver.otherwise.lock());
    let response = |status: u16| Response::builder().status(status);
    match reply {
        Reply::Accept => response(204).body(Body::empty()).unwrap(),
        Reply::Status(status) => response(status).body(Body::from("an answer")).unwrap(),
        Reply::With(status, name, value) => response(status).header(name, value).body(Body::empty()).unwrap(),
        Reply::Hang => std::future::pending().await,
        Reply::Endless => {
            let first = stream::once(ready(Ok::<_, std::io::Error>("an answer")));
            response(200).body(Body::from_stream(first.chain(stream::pending()))).unwrap()
        }
    }
}

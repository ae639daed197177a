//! A client of the REST API of one real server, over connections that stay open.

use reqwest::{Client, Method};
use serde_json::Value;

use super::Server;

#[derive(Clone)]
pub(crate) struct Api {
    http: Client,
    url: String,
    token: String,
}

impl Api {
    pub(crate) fn of(server: &Server, token: &str) -> Self {
        // An error means that another test has installed it.
        let _ = rustls::crypto::ring::default_provider().install_default();
        Self { http: Client::new(), url: server.url.clone(), token: token.to_owned() }
    }

    /// Status and body (`null` if it is not JSON). `None` without an answer, as from a server that was killed.
    pub(crate) async fn send(&self, method: Method, path: &str, body: impl Into<Vec<u8>>) -> Option<(u16, Value)> {
        let request = self.http.request(method, format!("{}{path}", self.url)).bearer_auth(&self.token);
        let request = request.header("content-type", "application/json").body(body.into());
        let answer = request.send().await.ok()?;
        let status = answer.status().as_u16();
        Some((status, serde_json::from_slice(&answer.bytes().await.ok()?).unwrap_or_default()))
    }

    /// The body of an answer that must be a success.
    pub(crate) async fn done(&self, method: Method, path: &str, body: impl Into<Vec<u8>>) -> Value {
        let (status, answer) = self.send(method.clone(), path, body).await.expect("no answer");
        assert!(status < 300, "{method} {path}: {status} {answer}");
        answer
    }

    pub(crate) async fn get(&self, path: &str) -> Value {
        self.done(Method::GET, path, "").await
    }

    /// Creates a session for a file of this size.
    pub(crate) async fn create(&self, size: usize) -> Option<(u16, Value)> {
        let body = format!(r#"{{"original_filename":"a","total_size_bytes":{size}}}"#);
        self.send(Method::POST, "/uploads/sessions", body).await
    }

    pub(crate) async fn finalize(&self, session: &str) -> Option<(u16, Value)> {
        self.send(Method::POST, &format!("/uploads/sessions/{session}/finalize"), "{}").await
    }

    /// A page of events after a cursor: the events, and the cursor of the next page.
    pub(crate) async fn events(&self, after: &str, limit: usize) -> (Vec<Value>, String) {
        let mut page = self.get(&format!("/events?after={after}&limit={limit}")).await;
        let Value::Array(events) = page["events"].take() else { panic!("{page}") };
        (events, page["next"].as_str().unwrap().to_owned())
    }
}

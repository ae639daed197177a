//! Requests to the router by REST and by GraphQL.

use axum::{
    body::Body,
    http::{HeaderMap, Request, StatusCode},
};
use serde_json::{Value, json};
use tower::ServiceExt;

use super::{TestUser, document::Asked};

/// A response with its whole body.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) bytes: Vec<u8>,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.bytes).unwrap_or_else(|_| panic!("no JSON: {self:?}"))
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes).into_owned()
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map(|value| value.to_str().unwrap()).unwrap_or_default()
    }

    /// The status and the code of a problem.
    pub(crate) fn problem(&self) -> (u16, String) {
        assert_eq!(self.header("content-type"), "application/problem+json", "{self:?}");
        let body = self.json();
        assert_eq!(body["status"], self.status.as_u16());
        (self.status.as_u16(), body["code"].as_str().unwrap().to_owned())
    }

    pub(crate) fn expect(self, status: u16) -> Self {
        assert_eq!(self.status.as_u16(), status, "{}", String::from_utf8_lossy(&self.bytes));
        self
    }
}

impl TestUser {
    /// Sends a request, and checks that `openapi.json` describes the answer.
    pub(crate) async fn send(&self, request: Request<Body>) -> Answer {
        let asked = Asked::of(&request);
        let response = self.router.clone().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let bytes = axum::body::to_bytes(body, usize::MAX).await.unwrap().to_vec();
        let answer = Answer { status: parts.status, headers: parts.headers, bytes };
        asked.check(&answer);
        answer
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.send(self.request("GET", path).body(Body::empty()).unwrap()).await
    }

    pub(crate) async fn delete(&self, path: &str) -> Answer {
        self.send(self.request("DELETE", path).body(Body::empty()).unwrap()).await
    }

    pub(crate) async fn post(&self, path: &str, body: Value) -> Answer {
        let request = self.request("POST", path).header("content-type", "application/json");
        self.send(request.body(Body::from(body.to_string())).unwrap()).await
    }

    /// Creates a session for a file of this size. Returns the body of the response.
    pub(crate) async fn create(&self, size: usize) -> Value {
        let body = json!({ "original_filename": "a.bin", "total_size_bytes": size });
        self.post("/uploads/sessions", body).await.expect(201).json()
    }

    /// Creates a session. Returns its id.
    pub(crate) async fn create_id(&self, size: usize) -> String {
        self.create(size).await["session_id"].as_str().unwrap().to_owned()
    }

    pub(crate) async fn status(&self, id: &str) -> Value {
        self.get(&format!("/uploads/sessions/{id}")).await.expect(200).json()
    }

    pub(crate) async fn put(&self, id: &str, number: u32, bytes: impl Into<Vec<u8>>) -> Answer {
        let bytes: Vec<u8> = bytes.into();
        let request = self.request("PUT", &format!("/uploads/sessions/{id}/parts/{number}"));
        self.send(request.header("content-length", bytes.len()).body(Body::from(bytes)).unwrap()).await
    }

    /// Sends these parts of a file with parts of 10 bytes.
    pub(crate) async fn put_parts(&self, id: &str, file: &[u8], numbers: impl IntoIterator<Item = u32>) {
        for number in numbers {
            let part = file.chunks(10).nth(number as usize - 1).unwrap();
            self.put(id, number, part).await.expect(201);
        }
    }

    pub(crate) async fn finalize(&self, id: &str) -> Answer {
        self.post(&format!("/uploads/sessions/{id}/finalize"), json!({})).await
    }

    /// Uploads a whole file. Returns the complete session.
    pub(crate) async fn upload(&self, file: &[u8]) -> Value {
        let id = self.create_id(file.len()).await;
        let parts = u32::try_from(file.len().div_ceil(10)).unwrap();
        self.put_parts(&id, file, 1..=parts).await;
        self.finalize(&id).await.expect(200).json()
    }

    pub(crate) async fn graphql(&self, query: &str, variables: Value) -> Value {
        self.post("/graphql", json!({ "query": query, "variables": variables })).await.json()
    }

    /// The data of a GraphQL response, which must have no errors.
    pub(crate) async fn data(&self, query: &str, variables: Value) -> Value {
        let mut answer = self.graphql(query, variables).await;
        assert_eq!(answer.get("errors"), None, "{answer}");
        answer["data"].take()
    }
}

//! The OpenAPI document. That it describes every answer, `support/document.rs` checks in all tests.

use std::collections::BTreeSet;

use axum::body::Body;
use serde_json::{Value, json};

use crate::support::{Cli, TestApp};

const KEPT: &str = include_str!("../../openapi.json");

fn document() -> Value {
    serde_json::from_str(KEPT).unwrap()
}

#[test]
fn openapi_json_is_the_output_of_the_binary() {
    let printed = String::from_utf8(Cli::new(&["openapi"]).run().stdout).unwrap();
    assert!(printed == KEPT, "openapi.json is out of date; run: cargo run -- openapi > openapi.json");
}

#[test]
fn operations_have_different_ids_and_a_text() {
    let document = document();
    let paths = document["paths"].as_object().unwrap();
    let operations: Vec<_> = paths.values().flat_map(|item| item.as_object().unwrap().values()).collect();
    let ids: BTreeSet<_> = operations.iter().map(|operation| operation["operationId"].as_str().unwrap()).collect();
    assert_eq!(ids.len(), operations.len());
    for operation in operations {
        assert!(operation["summary"].as_str().is_some_and(|text| !text.ends_with('.')), "{operation:#}");
    }
}

#[tokio::test]
async fn the_document_is_public_and_can_be_cached() {
    let app = TestApp::new().await;
    let user = app.anonymous();
    let answer = user.get("/openapi.json").await.expect(200);
    assert_eq!(answer.header("content-type"), "application/json");
    assert_eq!(answer.text(), KEPT.trim_end());
    let request = user.request("GET", "/openapi.json").header("if-none-match", answer.header("etag"));
    let unchanged = user.send(request.body(Body::empty()).unwrap()).await.expect(304);
    assert_eq!(unchanged.header("etag"), answer.header("etag"));
}

/// A relative URL, so that the document is right behind a proxy with any host and path.
#[tokio::test]
async fn the_server_in_the_document_is_public_url_if_that_is_set() {
    assert_eq!(document()["servers"], json!([{ "url": "." }]));
    let app = TestApp::with(|config| config.server.public_url = "https://files.example.org/up/".to_owned()).await;
    let served = app.anonymous().get("/openapi.json").await.expect(200).json();
    assert_eq!(served["servers"], json!([{ "url": "https://files.example.org/up" }]));
}

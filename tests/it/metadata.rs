//! Metadata: REST and GraphQL return it unchanged, or refuse it.

use axum::body::Body;
use serde_json::{Value, json, value::RawValue};

use crate::support::{Answer, TestApp, TestUser};

/// The JSON text of the first value with this key in an answer.
fn text_of<'a>(answer: &'a Answer, key: &str) -> &'a str {
    let body = std::str::from_utf8(&answer.bytes).unwrap();
    let (_, rest) = body.split_once(&format!("\"{key}\":")).unwrap_or_else(|| panic!("{key}: {body}"));
    let mut values = serde_json::Deserializer::from_str(rest).into_iter::<&RawValue>();
    values.next().unwrap().unwrap().get()
}

async fn post(user: &TestUser, path: &str, body: String) -> Answer {
    user.send(user.request("POST", path).header("content-type", "application/json").body(Body::from(body)).unwrap())
        .await
}

async fn create_by_rest(user: &TestUser, metadata: &str, key: Option<&str>) -> Answer {
    let key = json!(key);
    let body = format!(
        "{{\"original_filename\":\"a\",\"total_size_bytes\":5,\"metadata\":{metadata},\"idempotency_key\":{key}}}"
    );
    post(user, "/uploads/sessions", body).await
}

const CREATE: &str = "mutation($input: CreateUploadSessionInput!) { createUploadSession(input: $input) {
    uploadSession { id file { metadata } } userErrors { code field } } }";

async fn create_by_graphql(user: &TestUser, metadata: &str, key: Option<&str>) -> Answer {
    let (query, key) = (json!(CREATE), json!(key));
    let body = format!(
        "{{\"query\":{query},\"variables\":{{\"input\":{{\"originalFilename\":\"a\",\"totalSizeBytes\":5,\
         \"metadata\":{metadata},\"idempotencyKey\":{key}}}}}}}"
    );
    post(user, "/graphql", body).await
}

#[tokio::test]
async fn metadata_from_either_protocol_is_read_unchanged_by_both() {
    let app = TestApp::new().await;
    let user = app.user("ann").await;
    for metadata in [
        r#"{"z":1,"a":{"y":[1.5,-0.25,null,true,""],"b":{}},"m":"ü\"\\\u0000"}"#,
        r#"{"largest":18446744073709551615,"least":-9223372036854775808,"float":1.0}"#,
        &format!("{{\"a\":{}{}}}", "[".repeat(15), "]".repeat(15)),
    ] {
        for answer in [create_by_rest(&user, metadata, None).await, create_by_graphql(&user, metadata, None).await] {
            assert_eq!(text_of(&answer, "metadata"), metadata);
        }
        for session in user.get("/uploads/sessions?limit=2").await.json()["sessions"].as_array().unwrap() {
            let id = session["session_id"].as_str().unwrap();
            assert_eq!(text_of(&user.get(&format!("/uploads/sessions/{id}")).await, "metadata"), metadata);
            let file = session["file"]["file_id"].as_str().unwrap();
            assert_eq!(text_of(&user.get(&format!("/files/{file}")).await, "metadata"), metadata);
            let query = format!("{{\"query\":\"{{ uploadSession(id: \\\"{id}\\\") {{ file {{ metadata }} }} }}\"}}");
            assert_eq!(text_of(&post(&user, "/graphql", query).await, "metadata"), metadata);
        }
        let query = json!({ "query": "{ uploadSessions(first: 1) { nodes { file { metadata } } } }" });
        assert_eq!(text_of(&post(&user, "/graphql", query.to_string()).await, "metadata"), metadata);
    }
}

#[tokio::test]
async fn rest_keeps_long_numbers_and_graphql_refuses_them() {
    let app = TestApp::new().await;
    let user = app.user("ann").await;
    for number in ["12345678901234567890123", "1e400", "0.12345678901234567890123"] {
        let metadata = format!("{{\"n\":{number}}}");
        let created = create_by_rest(&user, &metadata, Some(number)).await;
        assert_eq!(text_of(&created, "metadata"), metadata);
        assert_eq!(create_by_rest(&user, &metadata, Some(number)).await.status, 200);
        let other = metadata.replace("23", "24").replace("400", "401");
        assert_eq!(create_by_rest(&user, &other, Some(number)).await.problem().1, "IDEMPOTENCY_KEY_REUSED");
        let query = json!({ "query": "{ uploadSessions(first: 1) { nodes { file { metadata } } } }" });
        assert_eq!(text_of(&post(&user, "/graphql", query.to_string()).await, "metadata"), metadata);

        let refused = create_by_graphql(&user, &metadata, None).await.json();
        assert_eq!(refused["errors"][0]["extensions"]["code"], "INVALID_INPUT", "{refused}");
        assert_eq!(refused["errors"][0]["extensions"]["details"]["field"], "variables");
        let literal = format!(
            "mutation {{ createUploadSession(input: {{ originalFilename: \"a\", totalSizeBytes: 5, \
             metadata: {{ n: {number} }} }}) {{ uploadSession {{ id }} }} }}"
        );
        let refused = user.graphql(&literal, json!({})).await;
        assert_eq!(refused["errors"][0]["extensions"]["code"], "INVALID_INPUT", "{refused}");
    }
}

#[tokio::test]
async fn invalid_metadata_is_refused_by_both() {
    let app = TestApp::new().await;
    let user = app.user("ann").await;
    let many: Vec<String> = (0..1001).map(|n| format!("\"{n}\":0")).collect();
    for metadata in [
        "[]".to_owned(),
        "\"{}\"".to_owned(),
        format!("{{\"a\":{}{}}}", "[".repeat(16), "]".repeat(16)),
        format!("{{\"a\":{}{}}}", "[".repeat(126), "]".repeat(126)),
        format!("{{\"a\":{}{}}}", "[".repeat(5_000), "]".repeat(5_000)),
        format!("{{\"a\":\"{}\"}}", "x".repeat(17_000)),
        format!("{{{}}}", many.join(",")),
        format!("{{\"{}\":1}}", "k".repeat(257)),
        r#"{"a":1,"a":2}"#.to_owned(),
        r#"{"a":{"b":1,"\u0062":2}}"#.to_owned(),
        r#"{"$serde_json::private::RawValue":"{\"a\":1}"}"#.to_owned(),
        r#"{"a":{"$serde_json::private::RawValue":"[1]"}}"#.to_owned(),
        r#"{"a":[{"$serde_json::private::Number":"1"}]}"#.to_owned(),
        r#"{"a":"\ud800"}"#.to_owned(),
    ] {
        let rest = create_by_rest(&user, &metadata, None).await;
        assert_eq!(rest.problem(), (400, "INVALID_INPUT".to_owned()), "{metadata:.80}");
        assert_eq!(rest.json()["field"], "metadata", "{metadata:.80}");
        let graphql = create_by_graphql(&user, &metadata, None).await.json();
        let code = graphql["data"]["createUploadSession"]["userErrors"][0]["code"].as_str();
        let code = code.or(graphql["errors"][0]["extensions"]["code"].as_str());
        assert_eq!(code, Some("INVALID_INPUT"), "{metadata:.80}: {graphql}");
    }
    assert_eq!(user.get("/uploads/sessions").await.expect(200).json()["sessions"], json!([]));
}

#[tokio::test]
async fn a_repeated_create_may_spell_the_same_metadata_differently() {
    let app = TestApp::new().await;
    let user = app.user("ann").await;
    let created = create_by_rest(&user, r#"{"a":1,"b":{"c":"ü","d":[1.5]}}"#, Some("k")).await.expect(201).json();
    let same = r#" { "b" : { "d" : [ 1.5 ], "c" : "\u00fc" }, "a" : 1 } "#;
    assert_eq!(create_by_rest(&user, same, Some("k")).await.expect(200).json(), created);
    let graphql = create_by_graphql(&user, same, Some("k")).await.json();
    assert_eq!(graphql["data"]["createUploadSession"]["uploadSession"]["id"], created["session_id"]);
    for other in [r#"{"a":1,"b":{"c":"ü","d":[1.5,2]}}"#, r#"{"a":1.0,"b":{"c":"ü","d":[1.5]}}"#, "{}"] {
        assert_eq!(create_by_rest(&user, other, Some("k")).await.problem().1, "IDEMPOTENCY_KEY_REUSED", "{other}");
        let graphql = create_by_graphql(&user, other, Some("k")).await.json();
        let errors: &Value = &graphql["data"]["createUploadSession"]["userErrors"];
        assert_eq!(errors[0]["code"], "IDEMPOTENCY_KEY_REUSED", "{other}");
    }
}

//! Creating a session.

use axum::body::Body;
use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::support::{TestApp, TestUser};

async fn create_with_header(user: &TestUser, key: &str, body: &Value) -> crate::support::Answer {
    let request = user.request("POST", "/uploads/sessions").header("content-type", "application/json");
    user.send(request.header("idempotency-key", key).body(Body::from(body.to_string())).unwrap()).await
}

#[tokio::test]
async fn a_new_session_has_the_plan_of_its_parts() {
    let app = TestApp::new().await;
    let user = app.user("ann").await;
    let body = json!({
        "original_filename": "holiday.mp4", "content_type": "video/mp4", "total_size_bytes": 25,
        "metadata": { "album": "2026" }
    });
    let answer = user.post("/uploads/sessions", body).await.expect(201);
    let session = answer.json();
    assert_eq!(answer.header("location"), format!("/uploads/sessions/{}", session["session_id"].as_str().unwrap()));
    insta::assert_json_snapshot!(session, {
        ".session_id" => "[id]", ".file.file_id" => "[id]",
        ".created_at" => "[time]", ".updated_at" => "[time]", ".expires_at" => "[time]",
    });
}

#[tokio::test]
async fn the_same_key_and_input_create_one_session() {
    let app = TestApp::new().await;
    let user = app.user("ann").await;
    let plain = json!({ "original_filename": "a", "total_size_bytes": 5 });
    let mut with_key = plain.clone();
    with_key["idempotency_key"] = json!("k-1");

    let first = user.post("/uploads/sessions", with_key.clone()).await.expect(201).json();
    let again = user.post("/uploads/sessions", with_key.clone()).await.expect(200).json();
    assert_eq!(first, again);
    let by_header = create_with_header(&user, "k-1", &plain).await.expect(200).json();
    let quoted = create_with_header(&user, "\"k-1\"", &plain).await.expect(200).json();
    assert_eq!((&first, &first), (&by_header, &quoted));

    let other = json!({ "original_filename": "b", "total_size_bytes": 5, "idempotency_key": "k-1" });
    let refused = user.post("/uploads/sessions", other).await;
    assert_eq!(refused.problem(), (422, "IDEMPOTENCY_KEY_REUSED".to_owned()));
    let contradiction = create_with_header(&user, "k-2", &with_key).await;
    assert_eq!(contradiction.problem(), (400, "INVALID_INPUT".to_owned()));

    let bob = app.user("bob").await;
    let bobs = bob.post("/uploads/sessions", with_key).await.expect(201).json();
    assert_ne!(first["session_id"], bobs["session_id"], "keys are per owner");
}

/// A bug: some numbers in metadata had another value when they were read than when they were sent.
#[tokio::test]
async fn a_replay_with_long_numbers_in_its_metadata_is_the_same_request() {
    let app = TestApp::new().await;
    let user = app.user("ann").await;
    let body = r#"{"original_filename":"a","total_size_bytes":5,"idempotency_key":"k","metadata":{"a":4.9059566797651129e-08}}"#;
    for status in [201, 200] {
        let request = user.request("POST", "/uploads/sessions").header("content-type", "application/json");
        user.send(request.body(Body::from(body)).unwrap()).await.expect(status);
    }
}

#[tokio::test]
async fn many_requests_with_the_same_key_create_one_session() {
    let app = TestApp::new().await;
    let user = app.user("ann").await;
    let body = json!({ "original_filename": "a", "total_size_bytes": 5, "idempotency_key": "k" });
    let answers = join_all((0..20).map(|_| user.post("/uploads/sessions", body.clone()))).await;
    let created = answers.iter().filter(|answer| answer.status == 201).count();
    let replayed = answers.iter().filter(|answer| answer.status == 200).count();
    assert_eq!((created, replayed), (1, 19));
    assert!(answers.iter().all(|answer| answer.json()["session_id"] == answers[0].json()["session_id"]));
    assert_eq!(user.get("/uploads/sessions").await.json()["sessions"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn invalid_input_is_refused_and_the_field_is_named() {
    let app = TestApp::new().await;
    let user = app.user("ann").await;
    for (input, field) in [
        (json!({ "original_filename": "", "total_size_bytes": 5 }), "original_filename"),
        (json!({ "original_filename": "a\u{0}b", "total_size_bytes": 5 }), "original_filename"),
        (json!({ "original_filename": "a", "total_size_bytes": -5 }), "total_size_bytes"),
        (json!({ "original_filename": "a", "total_size_bytes": 5, "sha256": "12" }), "sha256"),
        (json!({ "original_filename": "a", "total_size_bytes": 5, "content_type": "x" }), "content_type"),
        (json!({ "original_filename": "a", "total_size_bytes": 5, "idempotency_key": "" }), "idempotency_key"),
        (json!({ "original_filename": "a" }), "total_size_bytes"),
        (json!({ "original_filename": "a", "total_size_bytes": "5" }), "expected i64"),
        (json!({ "original_filename": "a", "total_size_bytes": 5, "filename": "b" }), "filename"),
        (json!({ "original_filename": "a", "total_size_bytes": 5, "metadata": [] }), "metadata"),
        (json!(["a", null, 5, null, null, null]), "JSON object"),
    ] {
        let answer = user.post("/uploads/sessions", input.clone()).await;
        assert_eq!(answer.problem(), (400, "INVALID_INPUT".to_owned()), "{input}");
        let detail = answer.json()["detail"].as_str().unwrap().to_owned();
        assert!(detail.contains(field), "{detail} does not name {field}");
    }
    let too_large = json!({ "original_filename": "a", "total_size_bytes": 100_001 });
    assert_eq!(user.post("/uploads/sessions", too_large).await.problem(), (413, "TOO_LARGE".to_owned()));
    assert_eq!(user.get("/uploads/sessions").await.json()["sessions"], json!([]), "no session was created");
}

#[tokio::test]
async fn a_body_that_is_not_json_or_too_large_is_refused() {
    let app = TestApp::new().await;
    let user = app.user("ann").await;
    let send = |content_type: &'static str, body: String| {
        let request = user.request("POST", "/uploads/sessions").header("content-type", content_type);
        user.send(request.body(Body::from(body)).unwrap())
    };
    for body in ["{", ""] {
        let answer = send("application/json", body.to_owned()).await;
        assert_eq!(answer.problem(), (400, "INVALID_INPUT".to_owned()), "{body}");
    }
    let answer = send("text/plain", "{}".to_owned()).await;
    assert_eq!(answer.problem(), (415, "UNSUPPORTED_MEDIA_TYPE".to_owned()));
    assert_eq!(answer.header("accept"), "application/json");
    let answer = send("application/json", " ".repeat(70_000)).await;
    assert_eq!(answer.problem(), (413, "TOO_LARGE".to_owned()));
}

#[tokio::test]
async fn the_number_of_open_sessions_of_an_owner_is_limited() {
    let app = TestApp::with(|config| config.limits.max_open_sessions = 2).await;
    let (ann, bob) = (app.user("ann").await, app.user("bob").await);
    let first = ann.create_id(5).await;
    ann.create(5).await;
    let third = json!({ "original_filename": "a", "total_size_bytes": 5 });
    let refused = ann.post("/uploads/sessions", third.clone()).await;
    assert_eq!(refused.problem(), (429, "RATE_LIMITED".to_owned()));
    assert!(!refused.header("retry-after").is_empty());
    bob.create(5).await;
    ann.delete(&format!("/uploads/sessions/{first}")).await.expect(204);
    ann.post("/uploads/sessions", third).await.expect(201);
}

/// A bug on PostgreSQL: its JSON type writes numbers in another form and refuses NUL.
#[tokio::test]
async fn metadata_is_stored_as_sent_and_a_replay_matches_it() {
    let app = TestApp::new().await;
    let user = app.user("ann").await;
    let body = r#"{"original_filename":"a","total_size_bytes":1,"idempotency_key":"k","metadata":{"n":1e16,"nul":"a\u0000b"}}"#;
    let body: serde_json::Value = serde_json::from_str(body).unwrap();
    let first = user.post("/uploads/sessions", body.clone()).await.expect(201).json();
    assert_eq!(first["file"]["metadata"], body["metadata"]);
    assert_eq!(user.post("/uploads/sessions", body).await.expect(200).json(), first);
}

//! Quotas: the bytes and the sessions of one owner.

use axum::body::Body;
use bytesize::ByteSize;
use chrono::TimeDelta;
use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::support::{Answer, FILE, TestApp, TestUser, cut_after};

async fn app_with(max_bytes: u64) -> TestApp {
    TestApp::on_disk_with(|config| config.limits.owner_max_bytes = Some(ByteSize::b(max_bytes))).await
}

async fn create(user: &TestUser, size: u64) -> Answer {
    let body = json!({ "original_filename": "a.bin", "total_size_bytes": size });
    user.post("/uploads/sessions", body).await
}

async fn used(user: &TestUser) -> (u64, u64) {
    let account = user.get("/me").await.expect(200).json();
    (account["bytes_used"].as_u64().unwrap(), account["open_sessions"].as_u64().unwrap())
}

fn exceeded() -> (u16, String) {
    (413, "QUOTA_EXCEEDED".to_owned())
}

fn session_id(answer: &Answer) -> String {
    answer.json()["session_id"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn of_many_creates_at_the_same_time_exactly_as_many_succeed_as_fit() {
    let app = app_with(1_050).await;
    let user = app.user("ann").await;
    let there = user.at(&app.beside().await);
    let users = [&user, &there];
    let answers = join_all((0..64).map(|n| create(users[n % 2], 100))).await;
    let created = answers.iter().filter(|answer| answer.status == 201).count();
    let refused = answers.iter().filter(|answer| answer.status == 413).count();
    assert_eq!((created, refused), (10, 54));
    assert_eq!(used(&user).await, (1_000, 10));
    // Each owner has an account of their own.
    create(&app.user("bob").await, 1_050).await.expect(201);
    // The last bytes can be used.
    create(&there, 51).await.expect(413);
    create(&there, 50).await.expect(201);
    assert_eq!(used(&there).await, (1_050, 11));
    let refused = create(&user, 1).await;
    assert_eq!(refused.problem(), exceeded());
    let problem = refused.json();
    for (field, value) in [("bytes_needed", 1), ("bytes_left", 0), ("bytes_used", 1_050), ("bytes_limit", 1_050)] {
        assert_eq!(problem[field], value, "{field}");
    }
    assert_eq!(problem["retryable"], false);
    // An empty file needs no bytes.
    create(&user, 0).await.expect(201);
}

#[tokio::test]
async fn every_end_without_a_file_and_every_deletion_frees_bytes() {
    let app = app_with(25).await;
    let user = app.user("ann").await;
    assert_eq!(used(&user).await, (0, 0));
    let aborted = session_id(&create(&user, 25).await.expect(201));
    assert_eq!(create(&user, 1).await.problem(), exceeded());
    for _ in 0..2 {
        user.delete(&format!("/uploads/sessions/{aborted}")).await.expect(204);
    }
    assert_eq!(used(&user).await, (0, 0));

    let body = json!({ "original_filename": "a", "total_size_bytes": 25, "sha256": "0".repeat(64) });
    let failed = session_id(&user.post("/uploads/sessions", body).await.expect(201));
    user.put_parts(&failed, FILE, 1..=3).await;
    assert_eq!(used(&user).await, (25, 1));
    user.finalize(&failed).await.expect(400);
    assert_eq!(used(&user).await, (0, 0));

    let stored = user.upload(FILE).await;
    assert_eq!(used(&user).await, (25, 0), "a stored file counts, and is no open session");
    assert_eq!(create(&user, 1).await.problem(), exceeded());
    for _ in 0..2 {
        user.delete(&format!("/files/{}", stored["file"]["file_id"].as_str().unwrap())).await.expect(204);
    }
    assert_eq!(used(&user).await, (0, 0));

    create(&user, 25).await.expect(201);
    app.advance(TimeDelta::days(7));
    assert_eq!(app.service.sweep().await.expired, 1);
    assert_eq!(used(&user).await, (0, 0));

    // A file that was never stored leaves nothing either.
    let request = user.request("POST", "/files").header("upload-length", "25");
    user.send(request.body(cut_after(&FILE[..3])).unwrap()).await.expect(503);
    assert_eq!(used(&user).await, (0, 0));
}

#[tokio::test]
async fn a_repeated_create_needs_no_room() {
    let app = app_with(25).await;
    let user = app.user("ann").await;
    let body = json!({ "original_filename": "a", "total_size_bytes": 25, "idempotency_key": "k" });
    let first = session_id(&user.post("/uploads/sessions", body.clone()).await.expect(201));
    assert_eq!(session_id(&user.post("/uploads/sessions", body).await.expect(200)), first);
    assert_eq!(used(&user).await, (25, 1));
    let other = json!({ "original_filename": "b", "total_size_bytes": 25, "idempotency_key": "k" });
    assert_eq!(user.post("/uploads/sessions", other).await.problem().1, "IDEMPOTENCY_KEY_REUSED");
}

#[tokio::test]
async fn an_owner_can_have_limits_of_their_own() {
    let app = app_with(100).await;
    let user = app.user("ann").await;
    let set = async |bytes, sessions| app.service.set_limits("ann", bytes, sessions).await.unwrap();
    let limit = async || user.get("/me").await.expect(200).json()["bytes_limit"].take();
    // Also before the owner has done anything.
    set(Some(Some(60)), None).await;
    assert_eq!(limit().await, 60);
    create(&user, 61).await.expect(413);
    let open = session_id(&create(&user, 60).await.expect(201));

    // A lower limit keeps what exists, and lets it finish.
    set(Some(Some(10)), None).await;
    let refused = create(&user, 1).await.expect(413).json();
    assert_eq!((&refused["bytes_left"], &refused["bytes_used"]), (&json!(0), &json!(60)));
    user.put_parts(&open, &[7; 60], 1..=6).await;
    user.finalize(&open).await.expect(200);
    // An empty file needs no room.
    create(&user, 0).await.expect(201);

    set(Some(Some(u64::MAX)), None).await;
    assert_eq!(limit().await, Value::Null);
    create(&user, 100_000).await.expect(201);
    set(Some(None), None).await;
    assert_eq!(limit().await, 100);
    create(&user, 1).await.expect(413);

    set(None, Some(Some(2))).await;
    assert_eq!(limit().await, 100, "the other limit stays");
    assert_eq!(create(&user, 0).await.problem(), (429, "RATE_LIMITED".to_owned()));
    assert_eq!(create(&user, 0).await.json()["limit"], 2);
    set(None, Some(None)).await;
    create(&user, 0).await.expect(201);
    assert_eq!(app.service.set_limits("no name", Some(None), None).await.unwrap_err().field(), Some("owner"));
}

#[tokio::test]
async fn without_a_limit_nothing_is_refused_and_everything_is_counted() {
    let app = TestApp::on_disk().await;
    let user = app.user("ann").await;
    create(&user, 100_000).await.expect(201);
    user.upload(FILE).await;
    let me = user.get("/me").await.expect(200);
    let account = json!({ "owner": "ann", "bytes_used": 100_025, "bytes_limit": null, "open_sessions": 1 });
    assert_eq!(me.json(), account);
    assert_eq!(me.header("cache-control"), "no-store");
    assert_eq!(app.anonymous().get("/me").await.problem(), (401, "UNAUTHENTICATED".to_owned()));
}

#[tokio::test]
async fn every_protocol_refuses_a_file_that_does_not_fit() {
    let app = app_with(24).await;
    let user = app.user("ann").await;
    let mutation = "mutation($input: CreateUploadSessionInput!) {
        createUploadSession(input: $input) { uploadSession { id } userErrors { code field message } } }";
    let input = json!({ "originalFilename": "a.bin", "totalSizeBytes": 25 });
    let payload = user.data(mutation, json!({ "input": input })).await["createUploadSession"].take();
    let message = create(&user, 25).await.expect(413).json()["detail"].take();
    let error = json!({ "code": "QUOTA_EXCEEDED", "field": null, "message": message });
    assert_eq!(payload, json!({ "uploadSession": null, "userErrors": [error] }));

    let tus = user.tus("POST", "/uploads/tus").header("upload-length", 25);
    let whole = user.request("POST", "/files").header("content-length", 25);
    let resumable = user.request("POST", "/files").header("upload-complete", "?1").header("content-length", 25);
    for (what, request, body) in [("tus", tus, ""), ("whole", whole, "x"), ("resumable", resumable, "x")] {
        let body = if body.is_empty() { Body::empty() } else { Body::from(FILE) };
        let refused = user.send(request.body(body).unwrap()).await;
        assert_eq!(refused.problem(), exceeded(), "{what}");
        assert_eq!(refused.json()["detail"], message, "{what}");
        assert_ne!(refused.header("upload-complete"), "?1");
    }
    assert_eq!(used(&user).await, (0, 0));
    assert_eq!(user.get("/uploads/sessions").await.expect(200).json()["sessions"], json!([]));
    // The room is there for a smaller file.
    let id = user.tus_create(24, "").await;
    user.tus_patch(&id, 0, &FILE[..24]).await.expect(204);
    assert_eq!(used(&user).await, (24, 0));
}

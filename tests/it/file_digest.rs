//! The whole file's SHA-256 and the composite SHA-256.

use partway::{
    app::App,
    service::{CheckOptions, FileSha256},
};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::support::{TestApp, TestUser, sha256_hex};

const BYTES: &[u8] = b"0123456789";

async fn finalize_with_sha256(user: &TestUser, id: &str, sha256: &str) -> crate::support::Answer {
    user.post(&format!("/uploads/sessions/{id}/finalize"), json!({ "sha256": sha256 })).await
}

async fn on_request() -> (TestApp, TestUser) {
    let app = TestApp::with(|config| config.limits.file_sha256 = FileSha256::OnRequest).await;
    let user = app.user("ann").await;
    (app, user)
}

#[tokio::test]
async fn with_on_request_finalize_computes_the_digest_when_a_client_sends_one() {
    let (_app, user) = on_request().await;
    let id = user.create_id(BYTES.len()).await;
    user.put(&id, 1, BYTES).await.expect(201);
    let done = user.finalize(&id).await.expect(200).json();
    assert_eq!((&done["status"], &done["file"]["sha256"]), (&json!("COMPLETE"), &Value::Null));
    assert_eq!(done["file"]["composite_sha256"], hex::encode(Sha256::digest(Sha256::digest(BYTES))));

    let wrong = finalize_with_sha256(&user, &id, &sha256_hex(b"other")).await;
    assert_eq!(wrong.problem(), (400, "CHECKSUM_MISMATCH".to_owned()));
    let asked = finalize_with_sha256(&user, &id, &sha256_hex(BYTES)).await.expect(200).json();
    assert_eq!(asked["file"]["sha256"], sha256_hex(BYTES));
    assert_eq!(asked["version"], done["version"].as_u64().unwrap() + 1, "a client with the old version sees a change");
    assert_eq!(user.finalize(&id).await.expect(200).json(), asked);
}

#[tokio::test]
async fn with_on_request_finalize_checks_a_declared_digest() {
    let (_app, user) = on_request().await;
    for (declared, status) in [(BYTES, 200), (b"other", 400)] {
        let body = json!({ "original_filename": "a", "total_size_bytes": 10, "sha256": sha256_hex(declared) });
        let session = user.post("/uploads/sessions", body).await.expect(201).json();
        let id = session["session_id"].as_str().unwrap();
        user.put(id, 1, BYTES).await.expect(201);
        let answer = user.finalize(id).await.expect(status).json();
        if status == 200 {
            assert_eq!(answer["file"]["sha256"], sha256_hex(BYTES));
        }
    }
}

#[tokio::test]
async fn a_wrong_digest_leaves_the_session_open_even_if_the_server_can_check_it_only_after_completion() {
    let app = TestApp::new().await;
    let user = app.user("ann").await;
    let id = user.create_id(BYTES.len()).await;
    user.put(&id, 1, BYTES).await.expect(201);
    // The restart loses the hash that the server computed while it received the part.
    let app = app.restarted().await;
    let user = TestUser { router: app.router.clone(), ..user };
    for _ in 0..2 {
        let wrong = finalize_with_sha256(&user, &id, &sha256_hex(b"other")).await;
        assert_eq!(wrong.problem(), (400, "CHECKSUM_MISMATCH".to_owned()));
        assert_eq!(user.status(&id).await["status"], "IN_PROGRESS");
    }
    let done = finalize_with_sha256(&user, &id, &sha256_hex(BYTES)).await.expect(200).json();
    assert_eq!(done["file"]["sha256"], sha256_hex(BYTES));
}

#[tokio::test]
async fn a_session_that_is_aborted_after_a_wrong_digest_leaves_nothing_to_download() {
    let app = TestApp::new().await;
    let user = app.user("ann").await;
    let session = user.create(BYTES.len()).await;
    let id = session["session_id"].as_str().unwrap();
    user.put(id, 1, BYTES).await.expect(201);
    finalize_with_sha256(&user, id, &sha256_hex(b"other")).await.expect(400);
    user.delete(&format!("/uploads/sessions/{id}")).await.expect(204);
    let content = format!("/files/{}/content", session["file"]["file_id"].as_str().unwrap());
    assert_eq!(user.get(&content).await.problem(), (404, "NOT_FOUND".to_owned()));
    assert_eq!(app.service.check(CheckOptions::default()).await.unwrap().problems, []);
}

#[tokio::test]
#[ignore = "needs S3: scripts/test-services"]
async fn the_server_refuses_to_start_if_the_bucket_does_not_exist() {
    let app = TestApp::on_disk().await;
    let mut config = app.config.clone();
    "s3://no-such-bucket/x".clone_into(&mut config.stores.storage);
    let refused = App::open(&config, app.clock.clone()).await.err().unwrap().to_string();
    assert!(refused.contains("NoSuchBucket"), "{refused}");
}

#[tokio::test]
async fn a_wrong_composite_digest_does_not_complete_the_session() {
    let app = TestApp::new().await;
    let user = app.user("ann").await;
    let id = user.create_id(BYTES.len()).await;
    user.put(&id, 1, BYTES).await.expect(201);
    let path = format!("/uploads/sessions/{id}/finalize");
    let wrong = json!({ "composite_sha256": sha256_hex(b"other") });
    let answer = user.post(&path, wrong.clone()).await;
    assert_eq!(answer.problem(), (400, "CHECKSUM_MISMATCH".to_owned()));
    assert_eq!(user.status(&id).await["status"], "IN_PROGRESS");
    let right = json!({ "composite_sha256": answer.json()["actual_composite_sha256"] });
    let done = user.post(&path, right.clone()).await.expect(200).json();
    assert_eq!(done["file"]["composite_sha256"], right["composite_sha256"]);
    assert_eq!(user.post(&path, wrong).await.problem(), (400, "CHECKSUM_MISMATCH".to_owned()));
    assert_eq!(user.post(&path, right).await.expect(200).json(), done);
    assert_eq!(user.post(&path, json!({ "composite_sha256": "x" })).await.problem(), (400, "INVALID_INPUT".to_owned()));
}

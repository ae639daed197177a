//! Finalizing a session.

use futures_util::future::join_all;
use serde_json::json;

use crate::support::{TestApp, crc64nvme, file_bytes, sha256_hex};

#[tokio::test]
async fn a_finalize_with_missing_parts_names_them() {
    let app = TestApp::new().await;
    let user = app.user("ann").await;
    let file = file_bytes(95);
    let id = user.create_id(file.len()).await;
    user.put_parts(&id, &file, [1, 2, 5, 10]).await;
    let answer = user.finalize(&id).await;
    assert_eq!(answer.problem(), (409, "PARTS_MISSING".to_owned()));
    assert_eq!(answer.json()["missing_parts"], json!(["3-4", "6-9"]));
    assert_eq!(user.status(&id).await["status"], "IN_PROGRESS");
}

#[tokio::test]
async fn a_repeated_finalize_has_the_same_response() {
    let app = TestApp::on_disk().await;
    let user = app.user("ann").await;
    let file = file_bytes(95);
    let first = user.upload(&file).await;
    assert_eq!((&first["status"], &first["file"]["status"]), (&json!("COMPLETE"), &json!("STORED")));
    assert_eq!(first["file"]["crc64nvme"], crc64nvme(&file));
    let id = first["session_id"].as_str().unwrap();
    assert_eq!(user.finalize(id).await.expect(200).json(), first);
    let path = format!("/uploads/sessions/{id}/finalize");
    user.post(&path, json!({ "sha256": sha256_hex(&file) })).await.expect(200);
    let wrong = user.post(&path, json!({ "sha256": sha256_hex(b"other") })).await;
    assert_eq!(wrong.problem(), (400, "CHECKSUM_MISMATCH".to_owned()));
    assert_eq!(app.bytes_on_disk().len(), 1, "the file was renamed, not copied");
}

#[tokio::test]
async fn many_finalizes_at_the_same_time_make_one_file() {
    let app = TestApp::on_disk().await;
    let user = app.user("ann").await;
    let file = file_bytes(995);
    let id = user.create_id(file.len()).await;
    user.put_parts(&id, &file, 1..=100).await;
    let answers = join_all((0..8).map(|_| user.finalize(&id))).await;
    for answer in &answers {
        assert_eq!((answer.status.as_u16(), &answer.json()), (200, &answers[0].json()));
    }
    assert_eq!(app.bytes_on_disk().len(), 1);
}

#[tokio::test]
async fn a_wrong_digest_at_finalize_changes_nothing() {
    let app = TestApp::new().await;
    let user = app.user("ann").await;
    let id = user.create_id(10).await;
    user.put(&id, 1, "0123456789").await.expect(201);
    let path = format!("/uploads/sessions/{id}/finalize");
    let refused = user.post(&path, json!({ "sha256": sha256_hex(b"other") })).await;
    assert_eq!(refused.problem(), (400, "CHECKSUM_MISMATCH".to_owned()));
    assert_eq!(refused.json()["actual_sha256"], sha256_hex(b"0123456789"));
    assert_eq!(user.status(&id).await["status"], "IN_PROGRESS");
    assert_eq!(user.post(&path, json!({ "sha256": "x" })).await.problem(), (400, "INVALID_INPUT".to_owned()));
    user.post(&path, json!({ "sha256": sha256_hex(b"0123456789").to_uppercase() })).await.expect(200);
}

#[tokio::test]
async fn a_wrong_digest_at_creation_fails_the_session() {
    let app = TestApp::on_disk().await;
    let user = app.user("ann").await;
    let body = json!({ "original_filename": "a", "total_size_bytes": 10, "sha256": sha256_hex(b"other") });
    let id = user.post("/uploads/sessions", body).await.expect(201).json()["session_id"].as_str().unwrap().to_owned();
    user.put(&id, 1, "0123456789").await.expect(201);
    for _ in 0..2 {
        let refused = user.finalize(&id).await;
        assert_eq!(refused.problem(), (400, "CHECKSUM_MISMATCH".to_owned()));
        assert_eq!(refused.json()["declared_sha256"], sha256_hex(b"other"));
    }
    let session = user.status(&id).await;
    assert_eq!((&session["status"], &session["status_reason"]), (&json!("FAILED"), &json!("checksum_mismatch")));
    assert_eq!(session["file"]["status"], "FAILED");
    assert!(app.bytes_on_disk().is_empty());
}

#[tokio::test]
async fn a_right_digest_at_creation_is_checked_and_stored() {
    let app = TestApp::new().await;
    let user = app.user("ann").await;
    let sha256 = sha256_hex(b"0123456789");
    let body = json!({ "original_filename": "a", "total_size_bytes": 10, "sha256": sha256 });
    let id = user.post("/uploads/sessions", body).await.expect(201).json()["session_id"].as_str().unwrap().to_owned();
    user.put(&id, 1, "0123456789").await.expect(201);
    assert_eq!(user.finalize(&id).await.expect(200).json()["file"]["sha256"], sha256);
}

#[tokio::test]
async fn an_empty_file_is_finalized_at_once() {
    let app = TestApp::new().await;
    let user = app.user("ann").await;
    let session = user.create(0).await;
    assert_eq!((&session["total_parts"], &session["missing_parts"]), (&json!(0), &json!([])));
    let id = session["session_id"].as_str().unwrap();
    assert_eq!(user.put(id, 1, "").await.problem(), (400, "PART_OUT_OF_RANGE".to_owned()));
    let done = user.finalize(id).await.expect(200).json();
    assert_eq!(done["file"]["crc64nvme"], crc64nvme(b""));
    let content = user.get(&format!("/files/{}/content", done["file"]["file_id"].as_str().unwrap())).await.expect(200);
    assert!(content.bytes.is_empty());
    let lone = user.create_id(0).await;
    let again = join_all((0..4).map(|_| user.finalize(&lone))).await;
    assert!(again.iter().all(|answer| answer.status == 200));
}

#[tokio::test]
async fn a_finalize_after_a_restart_has_the_right_digest() {
    let app = TestApp::on_disk().await;
    let user = app.user("ann").await;
    let file = file_bytes(95);
    let id = user.create_id(file.len()).await;
    user.put_parts(&id, &file, 1..=10).await;
    let token = user.token.clone();
    let app = app.restarted().await;
    let mut user = app.anonymous();
    user.token = token;
    assert_eq!(user.finalize(&id).await.expect(200).json()["file"]["crc64nvme"], crc64nvme(&file));
}

/// As after a crash between the rename and the commit.
#[tokio::test]
async fn a_finalize_that_was_interrupted_after_the_rename_can_be_repeated() {
    let app = TestApp::on_disk().await;
    let user = app.user("ann").await;
    let file = file_bytes(25);
    let session = user.create(file.len()).await;
    let id = session["session_id"].as_str().unwrap();
    user.put_parts(id, &file, 1..=3).await;
    let stored = format!("stored/{}", session["file"]["file_id"].as_str().unwrap());
    std::fs::rename(app.storage().join("uploading").join(id), app.storage().join(&stored)).unwrap();

    app.service.sweep().await;
    assert_eq!(app.bytes_on_disk(), [stored], "the sweep keeps the bytes of an open session");
    assert_eq!(user.finalize(id).await.expect(200).json()["file"]["crc64nvme"], crc64nvme(&file));
}

#[tokio::test]
async fn a_finalize_that_fails_leaves_the_version_to_the_next_one() {
    let app = TestApp::on_disk().await;
    let user = app.user("ann").await;
    let id = user.create_id(10).await;
    user.put(&id, 1, "0123456789").await.expect(201);
    let before = user.status(&id).await["version"].clone();
    let wrong = json!({ "sha256": "0".repeat(64) });
    user.post(&format!("/uploads/sessions/{id}/finalize"), wrong).await.expect(400);
    assert_eq!(user.status(&id).await["version"], before);
}

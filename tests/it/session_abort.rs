//! Aborting a session.

use futures_util::future::join;
use serde_json::json;

use crate::support::{TestApp, file_bytes};

#[tokio::test]
async fn an_abort_frees_the_bytes_and_can_be_repeated() {
    let app = TestApp::on_disk().await;
    let user = app.user("ann").await;
    let id = user.create_id(25).await;
    user.put(&id, 1, "0123456789").await.expect(201);
    assert_eq!(app.bytes_on_disk(), [format!("uploading/{id}")]);
    for _ in 0..2 {
        user.delete(&format!("/uploads/sessions/{id}")).await.expect(204);
    }
    assert!(app.bytes_on_disk().is_empty());
    let session = user.status(&id).await;
    assert_eq!((&session["status"], &session["status_reason"]), (&json!("ABORTED"), &json!("aborted_by_owner")));
    assert_eq!(session["file"]["status"], "FAILED");
    assert_eq!(user.finalize(&id).await.problem(), (409, "SESSION_CLOSED".to_owned()));
}

#[tokio::test]
async fn a_complete_session_cannot_be_aborted() {
    let app = TestApp::on_disk().await;
    let user = app.user("ann").await;
    let done = user.upload(b"0123456789").await;
    let refused = user.delete(&format!("/uploads/sessions/{}", done["session_id"].as_str().unwrap())).await;
    assert_eq!(refused.problem(), (409, "SESSION_CLOSED".to_owned()));
    assert_eq!(refused.json()["session_status"], "COMPLETE");
    assert_eq!(app.bytes_on_disk().len(), 1);
}

#[tokio::test]
async fn a_finalize_and_an_abort_at_the_same_time_end_in_one_of_the_two_states() {
    let app = TestApp::on_disk().await;
    let user = app.user("ann").await;
    let file = file_bytes(25);
    for _ in 0..20 {
        let session = user.create(file.len()).await;
        let id = session["session_id"].as_str().unwrap();
        user.put_parts(id, &file, 1..=3).await;
        let path = format!("/uploads/sessions/{id}");
        let (finalized, aborted) = join(user.finalize(id), user.delete(&path)).await;
        let stored = format!("stored/{}", session["file"]["file_id"].as_str().unwrap());
        let is_stored = app.bytes_on_disk().contains(&stored);
        match user.status(id).await["status"].as_str().unwrap() {
            "COMPLETE" => assert_eq!((finalized.status.as_u16(), aborted.status.as_u16(), is_stored), (200, 409, true)),
            "ABORTED" => assert_eq!((finalized.status.as_u16(), aborted.status.as_u16(), is_stored), (409, 204, false)),
            status => panic!("{status}"),
        }
        assert!(!app.bytes_on_disk().contains(&format!("uploading/{id}")));
    }
}

#[tokio::test]
async fn the_sweep_frees_the_bytes_of_ended_sessions_and_keeps_bytes_without_a_row() {
    let app = TestApp::on_disk().await;
    app.expect_damage();
    let user = app.user("ann").await;
    let (open, stored) = (user.create_id(25).await, user.upload(b"0123456789").await);
    user.put(&open, 1, "0123456789").await.expect(201);
    let uploading = app.storage().join("uploading");
    let unknown = "01890000-0000-7000-8000-000000000000";
    // Another database may have its row, or a restore may have lost it.
    for name in [unknown, "notes.txt"] {
        std::fs::write(uploading.join(name), "x").unwrap();
    }
    // As after a crash between the commit of the abort and the removal of the bytes.
    let aborted = user.create_id(25).await;
    user.delete(&format!("/uploads/sessions/{aborted}")).await.expect(204);
    std::fs::write(uploading.join(&aborted), "x").unwrap();

    assert_eq!(app.service.sweep().await.leftovers, 1);
    let mut left = app.bytes_on_disk();
    left.sort();
    let stored = format!("stored/{}", stored["file"]["file_id"].as_str().unwrap());
    let unknown = format!("uploading/{unknown}");
    assert_eq!(left, [stored, unknown, format!("uploading/{open}"), "uploading/notes.txt".to_owned()]);
}

#[tokio::test]
async fn a_sweep_removes_some_leftovers_and_the_next_one_goes_on() {
    let app = TestApp::on_disk().await;
    let user = app.user("ann").await;
    for _ in 0..150 {
        let id = user.create_id(25).await;
        user.delete(&format!("/uploads/sessions/{id}")).await.expect(204);
        std::fs::write(app.storage().join("uploading").join(id), "x").unwrap();
    }
    assert_eq!(app.service.sweep().await.leftovers, 100);
    assert_eq!(app.service.sweep().await.leftovers, 50);
    assert!(app.bytes_on_disk().is_empty());
}

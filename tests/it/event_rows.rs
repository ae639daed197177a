//! Events whose rows, or whose times, are not as usual.

use chrono::TimeDelta;
use serde_json::{Value, json};

use crate::support::{FILE, TestApp, TestUser};

async fn types(user: &TestUser) -> Vec<String> {
    let events = user.get("/events").await.expect(200).json()["events"].take();
    events.as_array().unwrap().iter().map(|event| event["type"].as_str().unwrap().to_owned()).collect()
}

fn id_of(session: &Value) -> String {
    session["file"]["file_id"].as_str().unwrap().to_owned()
}

/// The node that deleted the file has a clock that is behind that of the node that stored it.
#[tokio::test]
async fn a_deletion_comes_after_the_upload_whatever_the_clocks_say() {
    let app = TestApp::on_disk().await;
    let user = app.user("ann").await;
    let file = id_of(&user.upload(FILE).await);
    user.delete(&format!("/files/{file}")).await.expect(204);
    let earlier = match app.config.stores.database.as_str() {
        "" => "UPDATE event SET id = x'00', created_at = '2000-01-01 00:00:00+00:00' WHERE event_type = 'file.deleted'",
        _ => {
            "UPDATE event SET id = '00000000-0000-7000-8000-000000000000', created_at = '2000-01-01' \
             WHERE event_type = 'file.deleted'"
        }
    };
    // SQLite keeps ids as 16 bytes.
    let earlier = earlier.replace("x'00'", "x'00000000000070008000000000000000'");
    app.execute(earlier.leak()).await;
    assert_eq!(types(&user).await, ["upload.completed", "file.deleted"]);
}

#[tokio::test]
async fn after_a_jump_of_the_clock_no_event_is_removed_for_a_while() {
    let app = TestApp::new().await;
    let user = app.user("ann").await;
    app.service.sweep().await;
    user.upload(b"0123456789").await;
    app.advance(TimeDelta::days(400));
    app.service.sweep().await;
    assert_eq!(types(&user).await, ["upload.completed"]);
    for _ in 0..10 {
        app.advance(TimeDelta::days(1));
        app.service.sweep().await;
    }
    assert_eq!(types(&user).await, [""; 0]);
}

#[tokio::test]
async fn a_damaged_event_does_not_block_the_events_after_it() {
    for statement in
        ["UPDATE event SET data = '{bad' WHERE position = 2", "UPDATE event SET event_type = 'bad' WHERE position = 2"]
    {
        let app = TestApp::new().await;
        app.expect_damage();
        let user = app.user("ann").await;
        for _ in 0..3 {
            user.upload(b"0123456789").await;
        }
        assert_eq!(types(&user).await.len(), 3);
        app.execute(statement).await;
        let page = user.get("/events?limit=2").await.expect(200).json();
        // The page is filled with the next event.
        assert_eq!((page["events"].as_array().unwrap().len(), &page["next"]), (2, &json!("3")));
        let page = user.get("/events?after=2&limit=1").await.expect(200).json();
        assert_eq!((page["events"].as_array().unwrap().len(), &page["next"]), (1, &json!("3")));
        let report = app.service.check(partway::service::CheckOptions::default()).await.unwrap();
        assert_eq!(report.problems.len(), 1, "{:?}", report.problems);
        assert!(report.problems[0].what.starts_with("event "), "{:?}", report.problems);
    }
}

#[tokio::test]
async fn a_stored_file_with_a_damaged_row_can_be_deleted() {
    for statement in [
        "UPDATE upload_file SET metadata = '{bad'",
        "UPDATE upload_file SET status = 'BAD'",
        "UPDATE upload_session SET chunk_size_bytes = 0",
        "UPDATE upload_session SET status = 'BAD'",
    ] {
        let app = TestApp::on_disk().await;
        app.expect_damage();
        let user = app.user("ann").await;
        let file = id_of(&user.upload(FILE).await);
        app.execute(statement).await;
        app.user("bob").await.delete(&format!("/files/{file}")).await.expect(404);
        user.delete(&format!("/files/{file}")).await.expect(204);
        assert_eq!(app.bytes_on_disk(), [""; 0], "{statement}");
        assert_eq!(user.get("/me").await.json()["bytes_used"], 0, "{statement}");
        assert_eq!(types(&user).await, ["upload.completed", "file.deleted"], "{statement}");
        user.delete(&format!("/files/{file}")).await.expect(204);
        assert_eq!(types(&user).await.len(), 2);
    }
}

#[tokio::test]
async fn a_damaged_row_does_not_keep_other_files_from_being_deleted_when_they_are_due() {
    let app = TestApp::on_disk().await;
    app.expect_damage();
    let user = app.user("ann").await;
    for _ in 0..3 {
        user.upload(FILE).await;
    }
    app.execute("UPDATE upload_file SET retain_until = created_at").await;
    app.execute("UPDATE upload_file SET metadata = '{bad'").await;
    app.advance(TimeDelta::seconds(1));
    assert_eq!(app.service.sweep().await.deleted, 3);
    assert_eq!(app.bytes_on_disk(), [""; 0]);
}

#[tokio::test]
async fn sessions_expire_even_if_the_sweep_is_slow_beside_their_time_to_live() {
    let app = TestApp::with(|config| {
        config.limits.session_ttl = TimeDelta::seconds(3);
        config.limits.sweep_interval = std::time::Duration::from_secs(1);
    })
    .await;
    let user = app.user("ann").await;
    let session = user.create_id(25).await;
    for _ in 0..4 {
        app.service.sweep().await;
        app.advance(TimeDelta::milliseconds(1_100));
    }
    app.service.sweep().await;
    assert_eq!(user.status(&session).await["status_reason"], "expired");
}

#[tokio::test]
async fn a_time_of_another_type_is_invalid_input() {
    let app = TestApp::new().await;
    let user = app.user("ann").await;
    let mutation =
        "mutation($input: CreateUploadSessionInput!) { createUploadSession(input: $input) { userErrors { code } } }";
    for time in [json!(5), json!(true), json!([]), json!({}), json!("soon")] {
        let input = json!({ "originalFilename": "a", "totalSizeBytes": 1, "retainUntil": time });
        let answer = user.graphql(mutation, json!({ "input": input })).await;
        assert_eq!(answer["errors"][0]["extensions"]["code"], "INVALID_INPUT", "{answer}");
    }
}

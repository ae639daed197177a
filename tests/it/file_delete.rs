//! Deleting stored files: by their owner, by each protocol, and at the end of their retention.

use axum::body::Body;
use chrono::{DateTime, TimeDelta, Utc};
use http_body_util::BodyExt;
use serde_json::{Value, json};
use tower::ServiceExt;

use crate::support::{Answer, FILE, TestApp, TestUser, content, crc64nvme, file_bytes, id_of};

const DELETE: &str = "mutation($id: ID!) { deleteFile(input: { id: $id }) {
    uploadFile { id status sha256 retainUntil } userErrors { code field message } } }";

fn problem(status: u16, code: &str) -> (u16, String) {
    (status, code.to_owned())
}

async fn send(user: &TestUser, method: &str, path: &str, headers: &[(&str, &str)]) -> Answer {
    let mut request = user.tus(method, path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    user.send(request.body(Body::empty()).unwrap()).await
}

/// The path of the record of a session's file.
fn record_of(session: &Value) -> String {
    format!("/files/{}", session["file"]["file_id"].as_str().unwrap())
}

#[tokio::test]
async fn a_deleted_file_leaves_its_record_and_no_bytes() {
    let app = TestApp::on_disk().await;
    let user = app.user("ann").await;
    let session = user.upload(FILE).await;
    let path = record_of(&session);
    let other = app.user("bob").await;
    assert_eq!(other.delete(&path).await.problem(), problem(404, "NOT_FOUND"));
    assert_eq!(app.anonymous().delete(&path).await.problem(), problem(401, "UNAUTHENTICATED"));
    app.advance(TimeDelta::seconds(1));
    for _ in 0..2 {
        assert!(user.delete(&path).await.expect(204).bytes.is_empty());
    }
    assert!(app.bytes_on_disk().is_empty());

    let record = user.get(&path).await.expect(200).json();
    assert_eq!((&record["status"], &record["crc64nvme"]), (&json!("DELETED"), &json!(crc64nvme(FILE))));
    let after = user.status(session["session_id"].as_str().unwrap()).await;
    assert_eq!((&after["status"], &after["file"]["status"]), (&json!("COMPLETE"), &json!("DELETED")));
    assert_eq!(after["version"].as_u64().unwrap(), session["version"].as_u64().unwrap() + 1);
    assert!(after["updated_at"].as_str() > session["updated_at"].as_str());
    assert_eq!(content(&user, &session).await.problem(), problem(404, "NOT_FOUND"));
    send(&user, "HEAD", &format!("{path}/content"), &[]).await.expect(404);
    // The session's own DELETE aborts sessions, and this one is complete.
    let id = session["session_id"].as_str().unwrap();
    assert_eq!(user.delete(&format!("/uploads/sessions/{id}")).await.problem(), problem(409, "SESSION_CLOSED"));
    // A repeated finalize tells that the file is gone.
    assert_eq!(user.finalize(id).await.expect(200).json()["file"]["status"], "DELETED");
    assert_eq!(app.service.sweep().await.freed, 0);
}

#[tokio::test]
async fn only_a_stored_file_can_be_deleted() {
    let app = TestApp::on_disk().await;
    let user = app.user("ann").await;
    let uploading = user.create(25).await;
    user.put_parts(uploading["session_id"].as_str().unwrap(), FILE, [1]).await;
    let aborted = user.create(25).await;
    user.delete(&format!("/uploads/sessions/{}", aborted["session_id"].as_str().unwrap())).await.expect(204);
    let unknown = "/files/01890000-0000-7000-8000-000000000000".to_owned();
    for path in [record_of(&uploading), record_of(&aborted), unknown, "/files/nonsense".to_owned()] {
        assert_eq!(user.delete(&path).await.problem(), problem(404, "NOT_FOUND"), "{path}");
        let id = path.trim_start_matches("/files/");
        let payload = user.data(DELETE, json!({ "id": id })).await["deleteFile"].take();
        assert_eq!(payload["uploadFile"], Value::Null);
        assert_eq!(payload["userErrors"][0]["code"], "NOT_FOUND", "{path}");
    }
    user.put_parts(uploading["session_id"].as_str().unwrap(), FILE, [2, 3]).await;
}

#[tokio::test]
async fn a_deletion_with_a_stale_condition_changes_nothing() {
    let app = TestApp::on_disk().await;
    let user = app.user("ann").await;
    let path = record_of(&user.upload(FILE).await);
    let seen = user.get(&path).await.expect(200);
    let (etag, date) = (seen.header("etag"), seen.header("last-modified"));
    let long_ago = "Sun, 06 Nov 1994 08:49:37 GMT";
    for condition in
        [("if-match", "\"7\""), ("if-none-match", "*"), ("if-none-match", etag), ("if-unmodified-since", long_ago)]
    {
        let refused = send(&user, "DELETE", &path, &[condition]).await;
        assert_eq!(refused.problem(), problem(412, "PRECONDITION_FAILED"), "{condition:?}");
    }
    for condition in [("if-match", "7"), ("if-none-match", "?"), ("if-unmodified-since", "now")] {
        assert_eq!(send(&user, "DELETE", &path, &[condition]).await.problem(), problem(400, "INVALID_INPUT"));
    }
    assert_eq!(user.get(&path).await.expect(200).header("etag"), etag);
    assert_eq!(user.get(&format!("{path}/content")).await.expect(200).bytes, FILE);
    send(&user, "DELETE", &path, &[("if-match", etag), ("if-unmodified-since", date)]).await.expect(204);
    // A client that repeats the request because it lost the answer gets the same answer.
    send(&user, "DELETE", &path, &[("if-match", etag)]).await.expect(204);
    let now = user.get(&path).await.expect(200);
    assert_ne!(now.header("etag"), etag);
}

#[tokio::test]
async fn a_download_that_has_begun_continues_to_its_end() {
    let app = TestApp::on_disk().await;
    let user = app.user("ann").await;
    let file = file_bytes(9_995);
    let session = user.upload(&file).await;
    let path = record_of(&session);
    let request = user.request("GET", &format!("{path}/content")).body(Body::empty()).unwrap();
    let download = user.router.clone().oneshot(request).await.unwrap();
    assert_eq!(download.status(), 200);
    user.delete(&path).await.expect(204);
    assert!(app.bytes_on_disk().is_empty());
    assert_eq!(download.into_body().collect().await.unwrap().to_bytes(), file);
}

#[tokio::test]
async fn deletions_at_the_same_time_have_the_same_answer() {
    let app = TestApp::new().await;
    let user = app.user("ann").await;
    let there = user.at(&app.beside().await);
    for _ in 0..5 {
        let path = record_of(&user.upload(b"01234567").await);
        let users = [&user, &there, &user, &there];
        let answers = futures_util::future::join_all(users.map(|user| user.delete(&path))).await;
        assert!(answers.iter().all(|answer| answer.status == 204), "{answers:?}");
    }
    let events = user.get("/events").await.expect(200).json();
    let deleted = events["events"].as_array().unwrap().iter().filter(|event| event["type"] == "file.deleted");
    assert_eq!(deleted.count(), 5);
}

#[tokio::test]
async fn a_termination_by_tus_deletes_a_stored_file() {
    let app = TestApp::on_disk().await;
    let user = app.user("ann").await;
    let id = user.tus_create(25, "").await;
    user.tus_patch(&id, 0, FILE).await.expect(204);
    let path = format!("/uploads/tus/{id}");
    for _ in 0..2 {
        send(&user, "DELETE", &path, &[]).await.expect(204);
    }
    assert!(app.bytes_on_disk().is_empty());
    assert_eq!(user.status(&id).await["file"]["status"], "DELETED");
    assert_eq!(user.tus_head(&id).await.expect(410).header("upload-offset"), "");
    for (offset, bytes) in [(0, FILE), (10, &FILE[10..]), (25, b"")] {
        let refused = user.tus_patch(&id, offset, bytes).await;
        assert_eq!(refused.problem(), problem(410, "SESSION_CLOSED"), "{offset}");
        assert_eq!(refused.header("upload-offset"), "");
    }
    assert_eq!(send(&user, "GET", &path, &[]).await.problem(), problem(404, "NOT_FOUND"));
}

#[tokio::test]
async fn a_cancellation_by_resumable_http_deletes_a_stored_file() {
    let app = TestApp::on_disk().await;
    let user = app.user("ann").await;
    let begin = user.request("POST", "/files").header("upload-complete", "?0").header("upload-length", "25");
    let id = id_of(&user.send(begin.body(Body::from(FILE)).unwrap()).await.expect(201));
    let path = format!("/uploads/resumable/{id}");
    let patch = async |offset: usize, complete: &str, bytes: &'static [u8]| {
        let request = user.request("PATCH", &path).header("upload-offset", offset).header("upload-complete", complete);
        user.send(request.header("content-type", "application/partial-upload").body(bytes.into()).unwrap()).await
    };
    patch(25, "?1", b"").await.expect(201);
    for _ in 0..2 {
        send(&user, "DELETE", &path, &[]).await.expect(204);
    }
    assert!(app.bytes_on_disk().is_empty());
    for method in ["HEAD", "GET"] {
        let gone = send(&user, method, &path, &[]).await.expect(410);
        assert_eq!((gone.header("upload-complete"), gone.header("upload-offset")), ("?0", ""));
    }
    for (offset, complete, bytes) in [(25, "?1", &b""[..]), (25, "?0", b""), (0, "?1", FILE), (25, "?0", b"x")] {
        let refused = patch(offset, complete, bytes).await;
        assert_eq!(refused.problem(), problem(410, "SESSION_CLOSED"), "{offset} {complete}");
        assert_eq!((refused.header("upload-complete"), refused.header("upload-offset")), ("?0", ""));
    }
}

/// The key names one request for ever. No answer to it claims that the file is there.
#[tokio::test]
async fn a_repeated_create_does_not_bring_a_deleted_file_back() {
    let app = TestApp::on_disk().await;
    let user = app.user("ann").await;
    let body = json!({ "original_filename": "unnamed", "total_size_bytes": 0, "auto_finalize": true,
        "idempotency_key": "rest" });
    let session = user.post("/uploads/sessions", body.clone()).await.expect(201).json();
    user.delete(&record_of(&session)).await.expect(204);
    let again = user.post("/uploads/sessions", body).await.expect(200).json();
    assert_eq!(again["session_id"], session["session_id"]);
    assert_eq!((&again["status"], &again["file"]["status"]), (&json!("COMPLETE"), &json!("DELETED")));
    let mutation = "mutation($input: CreateUploadSessionInput!) {
        createUploadSession(input: $input) { uploadSession { id file { status } } userErrors { code } } }";
    let input =
        json!({ "originalFilename": "unnamed", "totalSizeBytes": 0, "autoFinalize": true, "idempotencyKey": "rest" });
    let payload = user.data(mutation, json!({ "input": input })).await["createUploadSession"].take();
    let expected = json!({ "id": session["session_id"], "file": { "status": "DELETED" } });
    assert_eq!(payload, json!({ "uploadSession": expected, "userErrors": [] }));

    let tus = async || {
        let create = user.tus("POST", "/uploads/tus").header("upload-length", 25).header("idempotency-key", "tus");
        user.send(create.body(Body::empty()).unwrap()).await
    };
    let id = id_of(&tus().await.expect(201));
    user.tus_patch(&id, 0, FILE).await.expect(204);
    assert_eq!(id_of(&tus().await.expect(201)), id);
    send(&user, "DELETE", &format!("/uploads/tus/{id}"), &[]).await.expect(204);
    let refused = tus().await;
    assert_eq!(refused.problem(), problem(410, "SESSION_CLOSED"));
    assert!(refused.text().contains("deleted"), "{}", refused.text());

    for (key, headers, status) in
        [("whole", &[][..], 409), ("resumable", &[("upload-complete", "?1"), ("upload-length", "25")][..], 410)]
    {
        let post = async || {
            let mut request = user.request("POST", "/files").header("idempotency-key", key);
            for (name, value) in headers {
                request = request.header(*name, *value);
            }
            user.send(request.body(Body::from(FILE)).unwrap()).await
        };
        let record = post().await.expect(201).json();
        assert_eq!(post().await.expect(201).json(), record);
        user.delete(&format!("/files/{}", record["file_id"].as_str().unwrap())).await.expect(204);
        let refused = post().await;
        assert_eq!(refused.problem(), problem(status, "SESSION_CLOSED"), "{key}");
        assert_ne!(refused.header("upload-complete"), "?1");
    }
    assert!(app.bytes_on_disk().is_empty());
}

fn time(value: &Value) -> DateTime<Utc> {
    value.as_str().unwrap().parse().unwrap()
}

/// Lets the clock advance as on a server that sweeps all the time.
async fn pass(app: &TestApp, by: TimeDelta) -> usize {
    let step = TimeDelta::days(1).min(by);
    let (mut left, mut deleted) = (by, 0);
    while left > TimeDelta::zero() {
        app.advance(step.min(left));
        left -= step;
        deleted += app.service.sweep().await.deleted;
    }
    deleted
}

#[tokio::test]
async fn a_file_is_deleted_at_the_end_of_the_retention_of_the_settings() {
    let app = TestApp::on_disk_with(|config| config.limits.file_retention = Some(TimeDelta::days(10))).await;
    let user = app.user("ann").await;
    app.service.sweep().await;
    let session = user.create(25).await;
    assert_eq!(session["file"]["retain_until"], Value::Null, "it is not stored yet");
    let id = session["session_id"].as_str().unwrap();
    user.put_parts(id, FILE, 1..=3).await;
    pass(&app, TimeDelta::days(2)).await;
    let stored = user.finalize(id).await.expect(200).json();
    let until = time(&stored["file"]["retain_until"]);
    assert_eq!(until, time(&stored["updated_at"]) + TimeDelta::days(10));
    let graphql = user
        .data(
            "query($id: ID!) { node(id: $id) { ... on UploadFile { retainUntil } } }",
            json!({ "id": stored["file"]["file_id"] }),
        )
        .await;
    assert_eq!(graphql["node"]["retainUntil"], stored["file"]["retain_until"]);
    let record = user.get(&record_of(&stored)).await.expect(200).json();
    assert_eq!(record["retain_until"], stored["file"]["retain_until"]);

    assert_eq!(pass(&app, TimeDelta::days(10) - TimeDelta::seconds(1)).await, 0);
    assert_eq!(content(&user, &stored).await.expect(200).bytes, FILE);
    assert_eq!(pass(&app, TimeDelta::seconds(1)).await, 1);
    assert_eq!(pass(&app, TimeDelta::seconds(1)).await, 0);
    assert!(app.bytes_on_disk().is_empty());
    assert_eq!(user.get(&record_of(&stored)).await.expect(200).json()["status"], "DELETED");
    let events = user.get("/events").await.expect(200).json();
    let types: Vec<_> = events["events"].as_array().unwrap().iter().map(|event| &event["type"]).collect();
    assert_eq!(types, ["upload.completed", "file.deleted"]);
}

#[tokio::test]
async fn a_client_chooses_until_when_its_file_is_kept() {
    let app = TestApp::on_disk_with(|config| config.limits.file_retention = Some(TimeDelta::days(100))).await;
    let user = app.user("ann").await;
    app.service.sweep().await;
    let until = (time(&user.create(1).await["created_at"]) + TimeDelta::hours(2)).to_rfc3339();
    let body = json!({ "original_filename": "a", "total_size_bytes": 0, "auto_finalize": true, "retain_until": until,
        "idempotency_key": "k" });
    let stored = user.post("/uploads/sessions", body.clone()).await.expect(201).json();
    assert_eq!(time(&stored["file"]["retain_until"]).to_rfc3339(), until);
    let mutation = "mutation($input: CreateUploadSessionInput!) { createUploadSession(input: $input) {
        uploadSession { id file { retainUntil } } userErrors { code field } } }";
    let input = json!({ "originalFilename": "a", "totalSizeBytes": 0, "autoFinalize": true, "retainUntil": until });
    let graphql = user.data(mutation, json!({ "input": input })).await["createUploadSession"].take();
    assert_eq!(graphql["uploadSession"]["file"]["retainUntil"], stored["file"]["retain_until"]);
    assert_eq!(pass(&app, TimeDelta::hours(2)).await, 2);
    assert_eq!(user.get(&record_of(&stored)).await.expect(200).json()["status"], "DELETED");
    // The request that created the session can still be repeated.
    let again = user.post("/uploads/sessions", body).await.expect(200).json();
    assert_eq!(again["session_id"], stored["session_id"]);

    for bad in ["yesterday", "2026", "1999-12-31T23:59:59Z", &until, "9999-12-31T23:59:59-10:00", ""] {
        let body = json!({ "original_filename": "a", "total_size_bytes": 0, "retain_until": bad });
        let refused = user.post("/uploads/sessions", body).await;
        assert_eq!(refused.problem(), problem(400, "INVALID_INPUT"), "{bad}");
        assert_eq!(refused.json()["field"], "retain_until", "{bad}");
    }
    let input = json!({ "originalFilename": "a", "totalSizeBytes": 0, "retainUntil": until });
    let errors = user.data(mutation, json!({ "input": input })).await["createUploadSession"]["userErrors"].take();
    assert_eq!(errors, json!([{ "code": "INVALID_INPUT", "field": ["input", "retainUntil"] }]));
    // A leap second is the next second.
    let leap = json!({ "original_filename": "a", "total_size_bytes": 0, "retain_until": "2200-06-30T23:59:60Z" });
    let leap = user.post("/uploads/sessions", leap).await.expect(201).json();
    assert_eq!(leap["file"]["retain_until"], "2200-07-01T00:00:00Z");
}

#[tokio::test]
async fn after_a_jump_of_the_clock_no_file_is_deleted_for_a_while() {
    let app = TestApp::on_disk_with(|config| config.limits.file_retention = Some(TimeDelta::days(3))).await;
    let user = app.user("ann").await;
    app.service.sweep().await;
    let stored = user.upload(FILE).await;
    app.advance(TimeDelta::days(5));
    assert_eq!(app.service.sweep().await.deleted, 0);
    assert_eq!(content(&user, &stored).await.expect(200).bytes, FILE);
    assert_eq!(pass(&app, TimeDelta::days(4)).await, 0);
    assert_eq!(pass(&app, TimeDelta::days(2)).await, 1);
    assert!(app.bytes_on_disk().is_empty());
}

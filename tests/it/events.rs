//! The feed of events: what it has for each end of an upload, and how a client reads it.

use std::collections::HashSet;

use axum::body::Body;
use chrono::TimeDelta;
use serde_json::{Value, json};

use crate::support::{BYTES, FILE, TestApp, TestUser, cut_after, id_of, sha256_hex};

/// The events after a cursor, and the next cursor.
async fn events_after(user: &TestUser, after: &str) -> (Vec<Value>, String) {
    let page = user.get(&format!("/events?after={after}&limit=1000")).await.expect(200).json();
    (page["events"].as_array().unwrap().clone(), page["next"].as_str().unwrap().to_owned())
}

/// All events.
async fn events(user: &TestUser) -> Vec<Value> {
    user.get("/events?limit=1000").await.expect(200).json()["events"].as_array().unwrap().clone()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap()
}

async fn send(user: &TestUser, method: &str, path: &str, headers: &[(&str, &str)], body: impl Into<Body>) -> String {
    let mut request = user.tus(method, path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let answer = user.send(request.body(body.into()).unwrap()).await;
    assert!(answer.status.is_success(), "{method} {path}: {answer:?}");
    id_of(&answer)
}

/// A session with these parts, from REST.
async fn session(user: &TestUser, parts: std::ops::RangeInclusive<u32>) -> String {
    let id = user.create_id(FILE.len()).await;
    user.put_parts(&id, FILE, parts).await;
    id
}

async fn file_of(user: &TestUser, id: &str) -> String {
    text(&user.status(id).await["file"]["file_id"]).to_owned()
}

async fn mutate(user: &TestUser, mutation: &str, id: &str) {
    let query =
        format!("mutation($id: ID!) {{ result: {mutation}(input: {{ id: $id }}) {{ userErrors {{ code }} }} }}");
    assert_eq!(user.data(&query, json!({ "id": id })).await["result"]["userErrors"], json!([]));
}

/// Expects one event since the cursor, of this type, about this session.
async fn one(user: &TestUser, cursor: &mut String, what: &str, event_type: &str, id: &str) -> Value {
    let (found, next) = events_after(user, cursor).await;
    let types: Vec<_> = found.iter().map(|event| text(&event["type"])).collect();
    assert_eq!(types, [event_type], "{what}");
    let session = user.status(id).await;
    let data = json!({
        "session_id": id, "file_id": session["file"]["file_id"], "owner": "ann", "status_reason": session["status_reason"],
        "original_filename": session["file"]["original_filename"], "content_type": session["file"]["content_type"],
        "size_bytes": session["file"]["size_bytes"], "sha256": session["file"]["sha256"],
        "crc64nvme": session["file"]["crc64nvme"],
        "composite_sha256": session["file"]["composite_sha256"], "metadata": session["file"]["metadata"],
    });
    assert_eq!(found[0]["data"], data, "{what}");
    assert_eq!(found[0]["timestamp"], session["updated_at"], "{what}");
    *cursor = next;
    found[0].clone()
}

#[tokio::test]
async fn each_end_by_each_protocol_is_one_event() {
    let app = TestApp::on_disk().await;
    let user = app.user("ann").await;
    let mut cursor = "0".to_owned();
    let see = async |what: &str, event_type: &str, id: &str, cursor: &mut String| {
        one(&user, cursor, what, event_type, id).await;
    };

    // Stored files: each is deleted later.
    let by_rest = session(&user, 1..=3).await;
    for _ in 0..2 {
        user.finalize(&by_rest).await.expect(200);
    }
    see("finalize by REST", "upload.completed", &by_rest, &mut cursor).await;
    let by_graphql = session(&user, 1..=3).await;
    mutate(&user, "finalizeUploadSession", &by_graphql).await;
    mutate(&user, "finalizeUploadSession", &by_graphql).await;
    see("finalize by GraphQL", "upload.completed", &by_graphql, &mut cursor).await;
    let by_tus = user.tus_create(25, "filename YS5iaW4=").await;
    user.tus_patch(&by_tus, 0, FILE).await.expect(204);
    user.tus_patch(&by_tus, 25, "").await.expect(204);
    see("the last byte by tus", "upload.completed", &by_tus, &mut cursor).await;
    let first = [("upload-complete", "?0"), ("upload-length", "25")];
    let by_http = send(&user, "POST", "/files", &first, &FILE[..9]).await;
    let rest = [("upload-complete", "?1"), ("upload-offset", "9"), ("content-type", "application/partial-upload")];
    send(&user, "PATCH", &format!("/uploads/resumable/{by_http}"), &rest, &FILE[9..]).await;
    see("the last byte by resumable HTTP", "upload.completed", &by_http, &mut cursor).await;
    let empty =
        r#"{"original_filename": "ü", "total_size_bytes": 0, "auto_finalize": true, "metadata": {"b":1.50,"a":[]}}"#;
    let create = user.request("POST", "/uploads/sessions").header("content-type", "application/json");
    let empty = user.send(create.body(empty.into()).unwrap()).await.expect(201).json();
    let empty = text(&empty["session_id"]);
    see("an empty file", "upload.completed", empty, &mut cursor).await;

    // Deleted files.
    for _ in 0..2 {
        user.delete(&format!("/files/{}", file_of(&user, &by_rest).await)).await.expect(204);
    }
    see("deletion by REST", "file.deleted", &by_rest, &mut cursor).await;
    mutate(&user, "deleteFile", &file_of(&user, &by_graphql).await).await;
    mutate(&user, "deleteFile", &file_of(&user, &by_graphql).await).await;
    see("deletion by GraphQL", "file.deleted", &by_graphql, &mut cursor).await;
    for (what, path, id) in [("tus", "/uploads/tus", &by_tus), ("resumable HTTP", "/uploads/resumable", &by_http)] {
        send(&user, "DELETE", &format!("{path}/{id}"), &[], "").await;
        send(&user, "DELETE", &format!("{path}/{id}"), &[], "").await;
        see(what, "file.deleted", id, &mut cursor).await;
    }

    // Ends without a file.
    for path in ["/uploads/sessions", "/uploads/tus", "/uploads/resumable"] {
        let aborted = session(&user, 1..=2).await;
        send(&user, "DELETE", &format!("{path}/{aborted}"), &[], "").await;
        send(&user, "DELETE", &format!("{path}/{aborted}"), &[], "").await;
        see(path, "upload.aborted", &aborted, &mut cursor).await;
    }
    let aborted = session(&user, 1..=2).await;
    mutate(&user, "abortUploadSession", &aborted).await;
    see("abort by GraphQL", "upload.aborted", &aborted, &mut cursor).await;
    let declared = json!({ "original_filename": "a", "total_size_bytes": 25, "sha256": sha256_hex(b"other") });
    let failed = user.post("/uploads/sessions", declared).await.expect(201).json();
    let failed = text(&failed["session_id"]);
    user.put_parts(failed, FILE, 1..=3).await;
    for _ in 0..2 {
        assert_eq!(user.finalize(failed).await.problem().1, "CHECKSUM_MISMATCH");
    }
    see("a wrong digest", "upload.failed", failed, &mut cursor).await;
    let lost = session(&user, 1..=3).await;
    std::fs::remove_file(app.storage().join("uploading").join(&lost)).unwrap();
    user.finalize(&lost).await;
    let event = one(&user, &mut cursor, "lost bytes", "upload.failed", &lost).await;
    assert_eq!(event["data"]["status_reason"], "bytes_lost");
    let expired = session(&user, 1..=2).await;
    app.advance(TimeDelta::days(7));
    assert_eq!(app.service.sweep().await.expired, 1);
    app.service.sweep().await;
    see("expiry", "upload.expired", &expired, &mut cursor).await;

    let all = events(&user).await;
    let ids: HashSet<_> = all.iter().map(|event| text(&event["id"])).collect();
    assert_eq!((all.len(), ids.len()), (16, 16));
    assert!(ids.iter().all(|id| id.starts_with("evt_")));
    // The metadata is the JSON that the client sent.
    let answer = user.get("/events").await.expect(200);
    assert!(answer.text().contains(r#""metadata":{"b":1.50,"a":[]}"#), "{}", answer.text());
    assert_eq!(answer.header("cache-control"), "no-store");
}

#[tokio::test]
async fn a_whole_file_that_breaks_off_is_an_aborted_upload() {
    let app = TestApp::new().await;
    let user = app.user("ann").await;
    let request = user.request("POST", "/files").header("upload-length", "25");
    let cut = user.send(request.body(cut_after(&FILE[..7])).unwrap()).await;
    assert!(!cut.status.is_success());
    let found = events(&user).await;
    assert_eq!(found.len(), 1);
    assert_eq!(
        (&found[0]["type"], &found[0]["data"]["status_reason"]),
        (&json!("upload.aborted"), &json!("aborted_by_owner"))
    );
}

#[tokio::test]
async fn wrong_first_bytes_by_tus_end_the_upload_with_one_event() {
    let app = TestApp::new().await;
    let user = app.user("ann").await;
    let request = user.tus("POST", "/uploads/tus").header("upload-length", 25).header("content-type", BYTES);
    let request = request.header("upload-checksum", "sha1 AAAAAAAAAAAAAAAAAAAAAAAAAAA=");
    user.send(request.body(Body::from(FILE)).unwrap()).await.expect(460);
    let types: Vec<_> = events(&user).await.iter().map(|event| event["type"].clone()).collect();
    assert_eq!(types, ["upload.aborted"]);
}

#[tokio::test]
async fn a_damaged_row_has_an_event_without_what_cannot_be_read() {
    let app = TestApp::new().await;
    app.expect_damage();
    let user = app.user("ann").await;
    let id = user.create_id(25).await;
    app.execute("UPDATE upload_session SET chunk_size_bytes = 0").await;
    for _ in 0..2 {
        user.delete(&format!("/uploads/sessions/{id}")).await.expect(204);
    }
    let found = events(&user).await;
    assert_eq!(found.len(), 1);
    assert_eq!(found[0]["type"], "upload.aborted");
    let data = &found[0]["data"];
    assert_eq!((&data["session_id"], &data["status_reason"]), (&json!(id), &json!("aborted_by_owner")));
    assert_eq!((&data["original_filename"], &data["metadata"]), (&Value::Null, &Value::Null));
}

/// Sessions that end by an abort.
async fn aborts(user: &TestUser, count: usize) {
    for _ in 0..count {
        let id = user.create_id(5).await;
        user.delete(&format!("/uploads/sessions/{id}")).await.expect(204);
    }
}

#[tokio::test]
async fn pages_have_every_event_once_by_either_cursor() {
    let app = TestApp::new().await;
    let (user, other) = (app.user("ann").await, app.user("bob").await);
    aborts(&other, 2).await;
    let empty = user.get("/events").await.expect(200).json();
    assert_eq!(empty["events"], json!([]));
    for _ in 0..3 {
        aborts(&user, 2).await;
        aborts(&other, 1).await;
    }
    aborts(&user, 1).await;
    let all = events(&user).await;
    assert_eq!(all.len(), 7);
    // The cursor of an empty page, too.
    assert_eq!(events_after(&user, text(&empty["next"])).await.0, all);
    for by_id in [false, true] {
        let (mut found, mut after) = (Vec::new(), "0".to_owned());
        for expected in [3, 3, 1, 0, 0] {
            let page = user.get(&format!("/events?limit=3&after={after}")).await.expect(200).json();
            let page_events = page["events"].as_array().unwrap();
            assert_eq!(page_events.len(), expected);
            found.extend(page_events.clone());
            after = match page_events.last().filter(|_| by_id) {
                Some(last) => text(&last["id"]).to_owned(),
                None => text(&page["next"]).to_owned(),
            };
        }
        assert_eq!(found, all, "by id: {by_id}");
        aborts(&other, 1).await;
        assert_eq!(events_after(&user, &after).await.0, [] as [Value; 0]);
    }

    // Another owner's event is no cursor.
    let foreign = text(&events(&other).await[0]["id"]).to_owned();
    assert_eq!(user.get(&format!("/events?after={foreign}")).await.problem(), expired());
    for query in ["after=x", "after=-1", "after=%2B1", "after=01", "after=evt_1", "limit=0", "limit=x", "before=1"] {
        assert_eq!(user.get(&format!("/events?{query}")).await.problem(), (400, "INVALID_INPUT".to_owned()), "{query}");
    }
    assert_eq!(app.anonymous().get("/events").await.problem(), (401, "UNAUTHENTICATED".to_owned()));
    // A larger limit counts as the largest.
    assert_eq!(user.get("/events?limit=1000000").await.expect(200).json()["events"].as_array().unwrap().len(), 7);
}

#[tokio::test]
async fn a_change_that_was_answered_is_in_the_feed_of_every_server() {
    let app = TestApp::new().await;
    let user = app.user("ann").await;
    let other = app.beside().await;
    let there = user.at(&other);
    let mut after = "0".to_owned();
    for _ in 0..5 {
        aborts(&user, 1).await;
        let (found, next) = events_after(&there, &after).await;
        assert_eq!(found.len(), 1);
        aborts(&there, 1).await;
        let (found, next) = events_after(&user, &next).await;
        assert_eq!(found.len(), 1);
        after = next;
    }
    // Many at the same time: the readers see each event once, in the same order.
    let many = futures_util::future::join_all((0..20).map(|n| {
        let user = if n % 2 == 0 { user.clone() } else { there.clone() };
        async move {
            aborts(&user, 2).await;
            events(&user).await
        }
    }));
    let seen = many.await;
    let all = events(&there).await;
    assert_eq!(all.len(), 50);
    for events in seen {
        assert!(all.starts_with(&events), "a reader saw the events in another order, or missed some");
    }
}

fn expired() -> (u16, String) {
    (410, "EVENTS_EXPIRED".to_owned())
}

#[tokio::test]
async fn a_cursor_before_removed_events_is_refused() {
    let app = TestApp::new().await;
    let (user, other) = (app.user("ann").await, app.user("bob").await);
    aborts(&other, 1).await;
    let start = events_after(&user, "0").await.1;
    aborts(&user, 2).await;
    let old = events(&user).await;
    let [first, last] = [text(&old[0]["id"]), text(&old[1]["id"])];
    let next = events_after(&user, "0").await.1;
    let others_next = events_after(&other, "0").await.1;
    app.advance(TimeDelta::days(30) + TimeDelta::seconds(1));
    aborts(&other, 1).await;
    app.service.sweep().await;

    for cursor in ["0", &start, first, last, "999"] {
        assert_eq!(user.get(&format!("/events?after={cursor}")).await.problem(), expired(), "{cursor}");
    }
    assert_eq!(events_after(&user, &next).await.0, [] as [Value; 0]);
    // Events of others do not matter.
    assert_eq!(events_after(&other, &others_next).await.0.len(), 1);
    let page = user.get("/events").await.expect(200).json();
    assert_eq!(page["events"], json!([]));
    aborts(&user, 1).await;
    assert_eq!(events_after(&user, text(&page["next"])).await.0.len(), 1);
    assert_eq!(events_after(&user, &next).await.0.len(), 1);
    assert_eq!(events(&user).await.len(), 1);
}

#[tokio::test]
async fn a_page_of_long_events_ends_early() {
    let app = TestApp::new().await;
    let user = app.user("ann").await;
    let metadata = json!({ "text": "x".repeat(16_000) });
    for _ in 0..250 {
        let body = json!({ "original_filename": "a", "total_size_bytes": 5, "metadata": metadata });
        let id = user.post("/uploads/sessions", body).await.expect(201).json();
        user.delete(&format!("/uploads/sessions/{}", text(&id["session_id"]))).await.expect(204);
    }
    let (mut found, mut pages, mut after) = (Vec::new(), Vec::new(), "0".to_owned());
    while found.len() < 250 {
        let answer = user.get(&format!("/events?limit=1000&after={after}")).await.expect(200);
        assert!(answer.bytes.len() < 2_300_000, "{}", answer.bytes.len());
        let page = answer.json();
        let ids = page["events"].as_array().unwrap().iter().map(|event| text(&event["id"]).to_owned());
        let before = found.len();
        found.extend(ids);
        pages.push(found.len() - before);
        assert!(pages.last() > Some(&0), "an empty page before the end");
        after = text(&page["next"]).to_owned();
    }
    assert_eq!(found.iter().collect::<HashSet<_>>().len(), 250);
    assert!(pages.len() == 2 && pages[0] > 100, "{pages:?}");
}

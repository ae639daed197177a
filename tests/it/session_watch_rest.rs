//! Following a session by REST: server-sent events and the long poll.

use axum::body::Body;
use serde_json::json;

use crate::support::{Answer, Events, TestApp, TestUser, file_bytes, in_time};

#[tokio::test]
async fn each_event_is_the_status_with_its_version_until_the_session_has_ended() {
    let app = TestApp::on_disk().await;
    let user = app.user("ann").await;
    let file = file_bytes(25);
    let session = user.create_id(file.len()).await;
    let path = format!("/uploads/sessions/{session}/events");
    let mut events = Events::open(&user, &path, None).await;
    let (id, state) = events.next().await.unwrap();
    assert_eq!((id.as_str(), &state), ("1", &user.status(&session).await));
    user.put_parts(&session, &file, [2]).await;
    let (id, state) = events.next().await.unwrap();
    assert_eq!((id.as_str(), &state), ("2", &user.status(&session).await));
    user.put_parts(&session, &file, [1, 3]).await;
    user.finalize(&session).await.expect(200);
    let mut last = None;
    while let Some(event) = events.next().await {
        last = Some(event);
    }
    let (id, state) = last.unwrap();
    assert_eq!((id.as_str(), &state["status"]), (state["version"].to_string().as_str(), &json!("COMPLETE")));

    // A client that connects again has nothing more to learn. After 204, `EventSource` stays closed.
    let again = user.request("GET", &path).header("last-event-id", &id).body(Body::empty()).unwrap();
    user.send(again).await.expect(204);
    let mut missed = Events::open(&user, &path, Some("1")).await;
    assert_eq!(missed.next().await.unwrap().1["status"], "COMPLETE");
    assert!(missed.next().await.is_none());
}

#[tokio::test]
async fn a_client_that_connects_again_gets_only_newer_states() {
    let app = TestApp::on_disk().await;
    let user = app.user("ann").await;
    let file = file_bytes(25);
    let session = user.create_id(file.len()).await;
    let path = format!("/uploads/sessions/{session}/events");
    user.put_parts(&session, &file, [1]).await;
    let mut events = Events::open(&user, &path, Some("2")).await;
    user.put_parts(&session, &file, [2]).await;
    assert_eq!(events.next().await.unwrap().0, "3");
    // An id from elsewhere is no reason to refuse the stream.
    assert_eq!(Events::open(&user, &path, Some("x")).await.next().await.unwrap().0, "3");
    app.shutdown.stop();
    assert!(events.next().await.is_none());
}

#[tokio::test]
async fn the_stream_belongs_to_the_owner_and_takes_an_upload_token_in_the_query() {
    let app = TestApp::new().await;
    let user = app.user("ann").await;
    let session = user.create_id(25).await;
    let path = format!("/uploads/sessions/{session}/events");
    app.user("bob").await.get(&path).await.expect(404);
    app.anonymous().get(&path).await.expect(401);
    let token = user.post(&format!("/uploads/sessions/{session}/tokens"), json!({})).await.expect(201).json();
    let path = format!("{path}?upload_token={}", token["token"].as_str().unwrap());
    assert_eq!(Events::open(&app.anonymous(), &path, None).await.next().await.unwrap().0, "1");
}

fn poll(user: &TestUser, session: &str, tag: &str, wait: &str) -> impl Future<Output = Answer> + use<> {
    let request = user.request("GET", &format!("/uploads/sessions/{session}"));
    let request = request.header("if-none-match", tag).header("prefer", format!("wait={wait}"));
    let (user, request) = (user.clone(), request.body(Body::empty()).unwrap());
    async move { in_time(user.send(request)).await }
}

#[tokio::test]
async fn a_long_poll_answers_when_the_version_moves() {
    let app = TestApp::on_disk().await;
    let user = app.user("ann").await;
    let file = file_bytes(25);
    let session = user.create_id(file.len()).await;
    let tag = user.get(&format!("/uploads/sessions/{session}")).await.header("etag").to_owned();
    let polling = tokio::spawn(poll(&user, &session, &tag, "60"));
    // Another server on the same data.
    let other = app.beside().await;
    user.at(&other).put_parts(&session, &file, [1]).await;
    let answer = polling.await.unwrap().expect(200);
    assert_eq!(answer.json()["completed_parts"], 1);
    assert_eq!(answer.header("preference-applied"), "wait=60");
    // The client's copy is older: there is nothing to wait for.
    poll(&user, &session, &tag, "60").await.expect(200);
    poll(&user, &session, "\"999\"", "60").await.expect(200);
}

#[tokio::test]
async fn a_long_poll_ends_unchanged_when_its_time_is_up_or_the_server_stops() {
    let app = TestApp::new().await;
    let user = app.user("ann").await;
    let session = user.create_id(25).await;
    let tag = user.get(&format!("/uploads/sessions/{session}")).await.header("etag").to_owned();
    for wait in ["0", "1"] {
        let answer = poll(&user, &session, &tag, wait).await.expect(304);
        assert_eq!(
            (answer.header("etag"), answer.header("preference-applied")),
            (tag.as_str(), format!("wait={wait}").as_str())
        );
    }
    // A malformed preference is none.
    poll(&user, &session, &tag, "soon").await.expect(304);
    let polling = tokio::spawn(poll(&user, &session, &tag, "60"));
    app.shutdown.stop();
    polling.await.unwrap().expect(304);
}

#[tokio::test]
async fn a_long_poll_on_an_ended_session_answers_when_its_file_is_deleted() {
    let app = TestApp::on_disk().await;
    let user = app.user("ann").await;
    let done = user.upload(b"0123456789").await;
    let session = done["session_id"].as_str().unwrap();
    let tag = user.get(&format!("/uploads/sessions/{session}")).await.header("etag").to_owned();
    let polling = tokio::spawn(poll(&user, session, &tag, "60"));
    user.delete(&format!("/files/{}", done["file"]["file_id"].as_str().unwrap())).await.expect(204);
    assert_eq!(polling.await.unwrap().expect(200).json()["file"]["status"], "DELETED");
    assert_eq!(poll(&user, "01900000-0000-7000-8000-000000000000", &tag, "60").await.problem().0, 404);
}

#[tokio::test]
async fn a_long_poll_ends_with_its_token() {
    let app = TestApp::new().await;
    let user = app.user("ann").await;
    let session = user.create_id(25).await;
    let tag = user.get(&format!("/uploads/sessions/{session}")).await.header("etag").to_owned();
    let polling = tokio::spawn(poll(&user, &session, &tag, "60"));
    for token in app.service.tokens().await.unwrap() {
        app.service.revoke_token(token.id).await.unwrap();
    }
    polling.await.unwrap().expect(401);
}

//! Following a session. `tests/clients` tests the protocols for it with real clients.

use axum::body::Body;
use futures_util::{StreamExt, future::join_all};
use http_body_util::BodyExt;
use partway::domain::{OwnerName, Principal, SessionId, SessionStatus};
use serde_json::json;
use tower::ServiceExt;

use crate::support::{TestApp, TestUser};

fn ann() -> Principal {
    Principal::of_owner(OwnerName::parse("ann").unwrap())
}

fn id(text: &str) -> SessionId {
    SessionId(text.parse().unwrap())
}

#[tokio::test]
async fn a_watcher_gets_the_present_state_and_the_changes_of_another_process_until_the_end() {
    let app = TestApp::on_disk().await;
    let user = app.user("ann").await;
    let session = user.create_id(25).await;
    // Another server on the same database and folder.
    let other = app.beside().await;
    let mut states = std::pin::pin!(other.service.watch(&ann(), id(&session)).await.unwrap());
    assert_eq!(states.next().await.unwrap().unwrap().session.status, SessionStatus::Init);

    user.put(&session, 2, "abcdefghij").await.expect(201);
    assert_eq!(states.next().await.unwrap().unwrap().session.received.to_string(), "2");
    // The test does not read meanwhile, so it misses states, but not the last one.
    user.put_parts(&session, b"0123456789abcdefghijKLMNO", [1, 3]).await;
    user.finalize(&session).await.expect(200);
    let mut last = None;
    while let Some(state) = states.next().await {
        last = Some(state.unwrap());
    }
    assert_eq!(last.unwrap().session.status, SessionStatus::Complete);
}

#[tokio::test]
async fn a_watcher_gets_an_ended_session_once_and_another_owners_session_never() {
    let app = TestApp::new().await;
    let user = app.user("ann").await;
    let done = user.upload(b"0123456789").await;
    let session = id(done["session_id"].as_str().unwrap());
    assert_eq!(app.service.watch(&ann(), session).await.unwrap().count().await, 1);
    let bob = Principal::of_owner(OwnerName::parse("bob").unwrap());
    assert_eq!(app.service.watch(&bob, session).await.err().unwrap().code().as_str(), "NOT_FOUND");
}

#[tokio::test]
async fn a_stopping_server_ends_all_streams() {
    let app = TestApp::new().await;
    let user = app.user("ann").await;
    let session = user.create_id(25).await;
    let query = format!("subscription {{ uploadSession(id: \"{session}\") {{ version }} }}");
    let request = user.request("POST", "/graphql").header("content-type", "application/json");
    let request = request.header("accept", "text/event-stream");
    let request = request.body(Body::from(json!({ "query": query }).to_string())).unwrap();
    let mut events = user.router.clone().oneshot(request).await.unwrap().into_body();
    let state = events.frame().await.unwrap().unwrap().into_data().unwrap();
    assert!(state.starts_with(b"event: next"), "{state:?}");
    app.shutdown.stop();
    assert!(events.frame().await.is_none());
}

#[tokio::test]
async fn a_change_is_read_once_for_any_number_of_watchers() {
    const WATCHERS: usize = 100;
    let app = TestApp::on_disk().await;
    let user = app.user("ann").await;
    let session = user.create_id(25).await;
    // The server does not read sessions that no client follows.
    let other = user.create_id(25).await;
    let watching = app.beside().await;
    let watch = || async { Box::pin(watching.service.watch(&ann(), id(&session)).await.unwrap()) };
    let mut watchers = join_all((0..WATCHERS).map(|_| watch())).await;
    for state in join_all(watchers.iter_mut().map(StreamExt::next)).await {
        assert_eq!(state.unwrap().unwrap().session.version, 1);
    }
    let (statements, ()) = watching
        .statements(async {
            for number in [1, 2] {
                user.put(&other, number, "0123456789").await.expect(201);
                user.put(&session, number, "0123456789").await.expect(201);
                for state in join_all(watchers.iter_mut().map(StreamExt::next)).await {
                    assert!(state.unwrap().unwrap().session.received.contains(number));
                }
            }
        })
        .await;
    // Four changes. Each may cause one read of the versions. Two of them changed the session and cause a read of it.
    assert!((2..=6).contains(&statements), "{statements} statements");
}

#[tokio::test]
async fn a_new_watcher_gets_no_older_state_than_the_acknowledged_one() {
    let app = TestApp::on_disk().await;
    let user = app.user("ann").await;
    let session = user.create_id(95).await;
    let mut first = std::pin::pin!(app.service.watch(&ann(), id(&session)).await.unwrap());
    first.next().await.unwrap().unwrap();
    for number in 1..=9 {
        user.put(&session, number, "0123456789").await.expect(201);
        let states = app.service.watch(&ann(), id(&session)).await.unwrap();
        let state = std::pin::pin!(states).next().await.unwrap().unwrap();
        assert_eq!(
            state.session.received.to_string(),
            if number == 1 { "1".to_owned() } else { format!("1-{number}") }
        );
    }
    user.delete(&format!("/uploads/sessions/{session}")).await.expect(204);
    let (mut version, mut status) = (1, SessionStatus::Init);
    while let Some(state) = first.next().await {
        let session = state.unwrap().session;
        assert!(session.version > version);
        (version, status) = (session.version, session.status);
    }
    assert_eq!(status, SessionStatus::Aborted);
}

/// Starts a subscription over server-sent events. Returns the response before its end.
async fn subscribe(user: &TestUser, session: &str, fields: &str) -> axum::body::Body {
    let query = format!("subscription {{ uploadSession(id: \"{session}\") {{ {fields} }} }}");
    let request = user.request("POST", "/graphql").header("accept", "text/event-stream");
    let request = request.header("content-type", "application/json").body(json!({ "query": query }).to_string());
    let answer =
        tower::ServiceExt::oneshot(user.router.clone(), request.unwrap().map(axum::body::Body::from)).await.unwrap();
    assert_eq!(answer.status(), 200);
    answer.into_body()
}

#[tokio::test]
async fn the_number_of_streams_of_an_owner_is_limited_over_all_transports() {
    let app = TestApp::with(|config| config.limits.max_streams_per_owner = 2).await;
    let (user, bob) = (app.user("ann").await, app.user("bob").await);
    let session = user.create_id(25).await;
    let first = app.service.watch(&ann(), id(&session)).await.unwrap();
    let mut second = subscribe(&user, &session, "status").await.into_data_stream();
    let begun = second.next().await.unwrap().unwrap();
    assert!(String::from_utf8_lossy(&begun).contains("INIT"));

    let refused = app.service.watch(&ann(), id(&session)).await.err().unwrap();
    assert_eq!(refused.code().as_str(), "RATE_LIMITED");
    let refused = axum::body::to_bytes(subscribe(&user, &session, "status").await, 10_000).await.unwrap();
    let refused = String::from_utf8_lossy(&refused);
    assert!(refused.contains(r#""code":"RATE_LIMITED""#) && refused.contains(r#""details":{"limit":2}"#), "{refused}");
    // Another owner has another limit.
    let of_bob = bob.create_id(25).await;
    let mut streams = subscribe(&bob, &of_bob, "status").await.into_data_stream();
    assert!(String::from_utf8_lossy(&streams.next().await.unwrap().unwrap()).contains("INIT"));
    // A refused stream does not count, and a stream that has ended no longer counts.
    drop(first);
    drop(app.service.watch(&ann(), id(&session)).await.unwrap());
    drop(second);
    let both = [app.service.watch(&ann(), id(&session)).await, app.service.watch(&ann(), id(&session)).await];
    assert!(both.iter().all(Result::is_ok));
}

#[tokio::test]
async fn fields_that_many_watchers_select_are_read_once() {
    let app = TestApp::on_disk().await;
    let user = app.user("ann").await;
    let session = user.create_id(95).await;
    let watching = app.beside().await;
    let watcher = TestUser { router: watching.router.clone(), token: user.token.clone() };
    let fields = "parts(first: 100) { nodes { partNumber sha256 } }";
    let mut watchers = Vec::new();
    for _ in 0..30 {
        watchers.push(subscribe(&watcher, &session, fields).await.into_data_stream());
    }
    join_all(watchers.iter_mut().map(StreamExt::next)).await;
    let (statements, ()) = watching
        .statements(async {
            user.put(&session, 2, "0123456789").await.expect(201);
            for event in join_all(watchers.iter_mut().map(StreamExt::next)).await {
                let event = event.unwrap().unwrap();
                let event = String::from_utf8_lossy(&event);
                assert!(event.contains(r#""partNumber":2,"#), "{event}");
            }
        })
        .await;
    // One read each of the versions, the session and its parts. The check of the token adds a few.
    assert!(statements <= 6, "{statements} statements");
}

//! Following a session. The protocols over which it is followed are tested with real clients, in `tests/clients`.

use futures_util::StreamExt;
use partway::domain::{OwnerName, Principal, SessionId, SessionStatus};

use crate::support::TestApp;

fn ann() -> Principal {
    Principal { owner: OwnerName::parse("ann").unwrap(), token_id: uuid::Uuid::nil() }
}

fn id(text: &str) -> SessionId {
    SessionId(text.parse().unwrap())
}

#[tokio::test]
async fn a_watcher_sees_the_state_now_and_every_change_of_another_process_until_the_end() {
    let app = TestApp::on_disk().await;
    let user = app.user("ann").await;
    let session = user.create_id(25).await;
    // Another server's view of the same database and folder.
    let other = app.beside().await;
    let mut states = std::pin::pin!(other.service.watch(&ann(), id(&session)).await.unwrap());
    assert_eq!(states.next().await.unwrap().unwrap().session.status, SessionStatus::Init);

    user.put(&session, 2, "abcdefghij").await.expect(201);
    assert_eq!(states.next().await.unwrap().unwrap().session.received.to_string(), "2");
    // Nobody reads in between: states are missed, never the last.
    user.put_parts(&session, b"0123456789abcdefghijKLMNO", [1, 3]).await;
    user.finalize(&session).await.expect(200);
    let mut last = None;
    while let Some(state) = states.next().await {
        last = Some(state.unwrap());
    }
    assert_eq!(last.unwrap().session.status, SessionStatus::Complete);
}

#[tokio::test]
async fn an_ended_session_is_told_once_and_another_owners_not_at_all() {
    let app = TestApp::new().await;
    let user = app.user("ann").await;
    let done = user.upload(b"0123456789").await;
    let session = id(done["session_id"].as_str().unwrap());
    assert_eq!(app.service.watch(&ann(), session).await.unwrap().count().await, 1);
    let bob = Principal { owner: OwnerName::parse("bob").unwrap(), ..ann() };
    assert_eq!(app.service.watch(&bob, session).await.err().unwrap().code().as_str(), "NOT_FOUND");
}

#[tokio::test]
async fn a_stopping_server_ends_what_is_followed() {
    let app = TestApp::new().await;
    let user = app.user("ann").await;
    let session = user.create_id(25).await;
    let mut states = std::pin::pin!(app.service.watch(&ann(), id(&session)).await.unwrap());
    states.next().await.unwrap().unwrap();
    app.service.stop();
    assert!(states.next().await.is_none());
}

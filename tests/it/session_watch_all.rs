//! Following all sessions of an owner: the stream by REST, and the subscription.

use std::collections::BTreeMap;

use axum::body::Body;
use http_body_util::BodyExt;
use serde_json::{Value, json};
use tower::ServiceExt;

use crate::support::{Events, Random, TestApp, TestUser, file_bytes, in_time};

const PATH: &str = "/uploads/events";

/// The next state: the session's id, its status, and the status of its file.
async fn next(events: &mut Events) -> (String, String, String) {
    let (_, state) = events.next().await.unwrap();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    (text(&state["session_id"]), text(&state["status"]), text(&state["file"]["status"]))
}

fn state(id: &str, status: &str, file: &str) -> (String, String, String) {
    (id.to_owned(), status.to_owned(), file.to_owned())
}

#[tokio::test]
async fn the_stream_begins_with_the_open_sessions_and_goes_on_with_every_change_of_any_server() {
    let app = TestApp::on_disk().await;
    let user = app.user("ann").await;
    user.upload(b"ended before").await;
    let (first, second) = (user.create_id(25).await, user.create_id(25).await);
    app.user("bob").await.create_id(25).await;
    let mut events = Events::open(&user, PATH, None).await;
    let (id, body) = events.next().await.unwrap();
    assert!(id.parse::<u64>().is_ok(), "{id}");
    assert_eq!(body, user.status(&first).await);
    assert_eq!(next(&mut events).await, state(&second, "INIT", "UPLOADING"));

    // Another server on the same data.
    let user = user.at(&app.beside().await);
    user.put_parts(&first, &file_bytes(25), [2]).await;
    assert_eq!(next(&mut events).await, state(&first, "IN_PROGRESS", "UPLOADING"));
    let third = user.create_id(25).await;
    assert_eq!(next(&mut events).await, state(&third, "INIT", "UPLOADING"));
    user.delete(&format!("/uploads/sessions/{second}")).await.expect(204);
    assert_eq!(next(&mut events).await, state(&second, "ABORTED", "FAILED"));
    // A session that begins and ends at once.
    let done = user.upload(b"0123456789").await;
    let fourth = done["session_id"].as_str().unwrap();
    let mut last = next(&mut events).await;
    while last.1 != "COMPLETE" {
        last = next(&mut events).await;
    }
    assert_eq!(last, state(fourth, "COMPLETE", "STORED"));
    user.delete(&format!("/files/{}", done["file"]["file_id"].as_str().unwrap())).await.expect(204);
    assert_eq!(next(&mut events).await, state(fourth, "COMPLETE", "DELETED"));

    app.shutdown.stop();
    assert!(events.next().await.is_none());
}

#[tokio::test]
async fn a_client_that_connects_again_gets_what_ended_meanwhile() {
    let app = TestApp::on_disk().await;
    let user = app.user("ann").await;
    let ended = user.create_id(25).await;
    let mut events = Events::open(&user, PATH, None).await;
    let (seen, _) = events.next().await.unwrap();
    drop(events);
    user.delete(&format!("/uploads/sessions/{ended}")).await.expect(204);
    let open = user.create_id(25).await;
    let mut events = Events::open(&user, PATH, Some(&seen)).await;
    assert_eq!(next(&mut events).await, state(&ended, "ABORTED", "FAILED"));
    let (seen, body) = events.next().await.unwrap();
    assert_eq!(body["session_id"], open.as_str());
    assert_eq!(next(&mut Events::open(&user, PATH, Some(&seen)).await).await, state(&open, "INIT", "UPLOADING"));
    // An id from elsewhere is no reason to refuse the stream. An id that is too high is that of a lost database.
    for other in ["x", "-1", "18446744073709551615", "99999999999999999999"] {
        assert_eq!(next(&mut Events::open(&user, PATH, Some(other)).await).await, state(&open, "INIT", "UPLOADING"));
    }
}

#[tokio::test]
async fn a_break_before_the_first_state_loses_nothing() {
    let app = TestApp::on_disk().await;
    let user = app.user("ann").await;
    user.upload(b"ended before").await;
    let begun = Events::open(&user, PATH, None).await.first_id().await;
    let done = user.upload(b"0123456789").await;
    let mut events = Events::open(&user, PATH, Some(&begun)).await;
    assert_eq!(next(&mut events).await, state(done["session_id"].as_str().unwrap(), "COMPLETE", "STORED"));
}

/// What a client knows that follows the stream, with breaks.
struct Client {
    user: TestUser,
    events: Events,
    last_id: String,
    sessions: BTreeMap<String, Value>,
}

impl Client {
    async fn of(user: TestUser) -> Self {
        let mut events = Events::open(&user, PATH, None).await;
        let last_id = events.first_id().await;
        Self { user, events, last_id, sessions: BTreeMap::new() }
    }

    async fn read(&mut self) {
        let (id, state) = self.events.next().await.unwrap();
        self.last_id = id;
        let session = state["session_id"].as_str().unwrap().to_owned();
        let before = self.sessions.get(&session).map_or(0, |before| before["version"].as_u64().unwrap());
        assert!(state["version"].as_u64().unwrap() >= before, "{state} after version {before}");
        self.sessions.insert(session, state);
    }

    /// Reads until the client knows one of these sessions.
    async fn read_one_of(&mut self, open: &[String]) {
        while !open.iter().any(|id| self.sessions.contains_key(id)) {
            self.read().await;
        }
    }

    async fn connect_again(&mut self) {
        self.events = Events::open(&self.user, PATH, Some(&self.last_id)).await;
        assert_eq!(self.events.first_id().await, self.last_id);
    }
}

/// The states of all sessions, by their ids.
async fn all(user: &TestUser) -> BTreeMap<String, Value> {
    let list = user.get("/uploads/sessions?limit=100").await.expect(200).json();
    let sessions = list["sessions"].as_array().unwrap().iter();
    sessions.map(|session| (session["session_id"].as_str().unwrap().to_owned(), session.clone())).collect()
}

/// Random changes, random breaks: in the end, the client knows the present state of every session.
#[tokio::test]
async fn a_client_that_follows_with_breaks_knows_every_session() {
    for seed in 0..6 {
        let app = TestApp::on_disk().await;
        let user = app.user("ann").await;
        let mut client = Client::of(user.at(&app.beside().await)).await;
        let (mut random, mut open, mut stored) = (Random::new(seed), Vec::new(), Vec::new());
        for _ in 0..40 {
            match random.below(8) {
                0..=1 => open.push(user.create_id(25).await),
                2..=3 if !open.is_empty() => {
                    user.put(&open[random.below(open.len())], [1, 2][random.below(2)], "0123456789").await;
                }
                4 if !open.is_empty() => {
                    let id = open.swap_remove(random.below(open.len()));
                    user.delete(&format!("/uploads/sessions/{id}")).await.expect(204);
                }
                5 => stored.push(user.upload(b"0123456789").await["file"]["file_id"].as_str().unwrap().to_owned()),
                6 if !stored.is_empty() => {
                    let id = stored.swap_remove(random.below(stored.len()));
                    user.delete(&format!("/files/{id}")).await.expect(204);
                }
                _ => client.connect_again().await,
            }
            if random.below(3) == 0 && !open.is_empty() {
                client.read_one_of(&open).await;
            }
        }
        let expected = all(&user).await;
        while client.sessions != expected {
            client.read().await;
        }
    }
}

#[tokio::test]
async fn a_stream_over_more_sessions_than_one_read_gets_each_of_them_once() {
    let app = TestApp::new().await;
    let user = app.user("ann").await;
    let mut ids = Vec::new();
    for _ in 0..120 {
        ids.push(user.create_id(25).await);
    }
    let mut events = Events::open(&user, PATH, None).await;
    for id in &ids {
        assert_eq!(next(&mut events).await, state(id, "INIT", "UPLOADING"));
    }
    // More ends than one read.
    for id in &ids {
        user.delete(&format!("/uploads/sessions/{id}")).await.expect(204);
    }
    for id in &ids {
        assert_eq!(next(&mut events).await, state(id, "ABORTED", "FAILED"));
    }
}

#[tokio::test]
async fn an_invalid_row_does_not_end_the_stream() {
    let app = TestApp::on_disk().await;
    app.expect_damage();
    let user = app.user("ann").await;
    let (damaged, other) = (user.create_id(25).await, user.create_id(25).await);
    app.execute("UPDATE upload_session SET total_size_bytes = -1 WHERE id = (SELECT id FROM upload_session ORDER BY id LIMIT 1)")
        .await;
    let mut events = Events::open(&user, PATH, None).await;
    assert_eq!(next(&mut events).await, state(&other, "INIT", "UPLOADING"), "not {damaged}");
    let third = user.create_id(25).await;
    assert_eq!(next(&mut events).await.0, third);
}

#[tokio::test]
async fn streams_over_all_sessions_count_against_the_limit() {
    let app = TestApp::with(|config| config.limits.max_streams_per_owner = 2).await;
    let user = app.user("ann").await;
    let held = (Events::open(&user, PATH, None).await, Events::open(&user, PATH, None).await);
    assert_eq!(user.get(PATH).await.problem(), (429, "RATE_LIMITED".to_owned()));
    drop(held);
    Events::open(&user, PATH, None).await;
}

#[tokio::test]
async fn the_subscription_sends_the_same_states() {
    let app = TestApp::on_disk().await;
    let user = app.user("ann").await;
    let first = user.create_id(25).await;
    let query =
        "subscription { uploadSessionChanged { id status version receivedParts { first last } file { status } } }";
    let request = user.request("POST", "/graphql").header("content-type", "application/json");
    let request = request.header("accept", "text/event-stream");
    let request = request.body(Body::from(json!({ "query": query }).to_string())).unwrap();
    let mut body = user.router.clone().oneshot(request).await.unwrap().into_body();
    let mut next = async || {
        let frame = in_time(body.frame()).await.unwrap().unwrap().into_data().unwrap();
        let text = String::from_utf8(frame.to_vec()).unwrap();
        let data: Value = serde_json::from_str(text.split_once("data: ").unwrap().1.trim()).unwrap();
        data["data"]["uploadSessionChanged"].clone()
    };
    let mut expected = json!({
        "id": first, "status": "INIT", "version": "1", "receivedParts": [], "file": { "status": "UPLOADING" }
    });
    assert_eq!(next().await, expected);
    user.put_parts(&first, &file_bytes(25), [2]).await;
    expected["status"] = "IN_PROGRESS".into();
    expected["version"] = "2".into();
    expected["receivedParts"] = json!([{ "first": 2, "last": 2 }]);
    assert_eq!(next().await, expected);
}

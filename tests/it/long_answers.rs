//! Limits on answers whose length depends on the uploads and not on the query.

use std::time::Duration;

use axum::body::Body;
use futures_util::StreamExt;
use partway::{config::Config, domain::PartSet};
use serde_json::{Value, json};
use tokio::{net::TcpListener, time::timeout};
use tower::ServiceExt;

use crate::{
    support::{TestApp, TestUser},
    websocket::{DEADLINE, Socket},
};

/// An app whose sessions may have 10,000 parts.
async fn with_many_parts(change: impl FnOnce(&mut Config)) -> TestApp {
    TestApp::with(|config| {
        config.limits.max_parts = 10_000;
        change(config);
    })
    .await
}

/// Sessions whose rows say that every second part has arrived.
async fn create(app: &TestApp, user: &TestUser, count: usize) -> Vec<String> {
    app.expect_damage();
    let mut ids = Vec::new();
    for _ in 0..count {
        ids.push(user.create_id(100_000).await);
    }
    let received = hex::encode((1..10_000).step_by(2).collect::<PartSet>().to_bytes());
    let literal =
        if app.config.stores.database.is_empty() { format!("X'{received}'") } else { format!("'\\x{received}'") };
    app.execute(format!("UPDATE upload_session SET received_parts = {literal}").leak()).await;
    ids
}

const NODES: &str =
    "query($ids: [ID!]!) { nodes(ids: $ids) { ... on UploadSession { receivedParts { first last } } } }";

#[tokio::test]
async fn a_list_over_the_length_limit_is_refused_before_it_is_built() {
    let app = with_many_parts(|_| ()).await;
    let user = app.user("ann").await;
    let id = create(&app, &user, 1).await.remove(0);
    let answer = user.data(NODES, json!({ "ids": [id, id, "x"] })).await;
    for node in &answer["nodes"].as_array().unwrap()[..2] {
        let parts = node["receivedParts"].as_array().unwrap();
        assert_eq!((parts.len(), &parts[4_999]), (5_000, &json!({ "first": 9_999, "last": 9_999 })));
    }
    assert_eq!(answer["nodes"][2], Value::Null);

    let lists = [
        (NODES.to_owned(), json!({ "ids": vec![id.clone(); 100] })),
        (NODES.replace("receivedParts", "missingParts"), json!({ "ids": vec![id.clone(); 100] })),
    ];
    for (query, variables) in lists {
        let answer = user.graphql(&query, variables).await;
        assert_eq!(answer.get("data"), None, "{query}");
        assert_eq!(answer["errors"].as_array().unwrap().len(), 1, "{query}");
        assert_eq!(answer["errors"][0]["extensions"]["code"], "TOO_LARGE", "{query}");
    }
}

#[tokio::test]
async fn no_answer_is_longer_than_max_response_bytes() {
    let app = with_many_parts(|config| config.graphql.max_response_bytes = bytesize::ByteSize::kib(64)).await;
    let user = app.user("ann").await;
    let metadata = json!({ "a": "x".repeat(16_000) });
    for _ in 0..5 {
        let body = json!({ "original_filename": "x".repeat(1_000), "total_size_bytes": 5, "metadata": metadata });
        user.post("/uploads/sessions", body).await.expect(201);
    }
    let aliases: String = (0..15).map(|n| format!(" a{n}: originalFilename")).collect();
    let long: String = "contentType ".repeat(20) + &"n".repeat(20_000) + ": contentType";
    for (fields, code) in [
        ("file { metadata }", "TOO_LARGE"),
        (&format!("file {{ {aliases} }}"), "TOO_LARGE"),
        (&format!("file {{ {long} }}"), "TOO_LARGE"),
    ] {
        let query = |first: usize| format!("{{ uploadSessions(first: {first}) {{ nodes {{ {fields} }} }} }}");
        let answer = user.graphql(&query(5), json!({})).await;
        assert_eq!(answer["errors"][0]["extensions"]["code"], code, "{fields:.80}");
        user.data(&query(1), json!({})).await;
    }
}

/// An app with a `graphql_timeout` of 1 ms, which every answer to `slow` exceeds.
async fn with_short_timeout() -> (TestApp, TestUser, String) {
    let app = with_many_parts(|config| config.graphql.timeout = Duration::from_millis(1)).await;
    let user = app.user("ann").await;
    let id = create(&app, &user, 1).await.remove(0);
    (app, user, id)
}

/// An operation whose lists take much longer than 1 ms to build, with many yields. `count` prevents that they are encoded at once.
fn slow(operation: &str, id: &str) -> Value {
    let lists: String = (0..10).map(|n| format!(" l{n}: receivedParts {{ first last count }}")).collect();
    json!({ "query": format!("{operation} {{ uploadSession(id: \"{id}\") {{ {lists} }} }}") })
}

#[tokio::test]
async fn a_query_over_the_time_limit_fails_over_http() {
    let (_app, user, id) = with_short_timeout().await;
    let answer = user.post("/graphql", slow("query", &id)).await.json();
    assert_eq!(answer["errors"][0]["extensions"]["code"], "UNAVAILABLE", "{answer:.200}");
}

/// The first event of a response over server-sent events.
async fn first_event(user: &TestUser, body: &Value) -> String {
    let request = user.request("POST", "/graphql").header("accept", "text/event-stream");
    let request = request.header("content-type", "application/json").body(Body::from(body.to_string())).unwrap();
    let answer = user.router.clone().oneshot(request).await.unwrap();
    let first = timeout(DEADLINE, answer.into_body().into_data_stream().next()).await.unwrap();
    String::from_utf8(first.unwrap().unwrap().to_vec()).unwrap()
}

#[tokio::test]
async fn a_query_over_the_time_limit_fails_over_server_sent_events() {
    let (_app, user, id) = with_short_timeout().await;
    let event = first_event(&user, &slow("query", &id)).await;
    assert!(event.contains(r#""code":"UNAVAILABLE""#), "{event:.200}");
}

/// A subscription has no time limit, but each of its events has one.
#[tokio::test]
async fn an_event_over_the_time_limit_fails() {
    let (_app, user, id) = with_short_timeout().await;
    let event = first_event(&user, &slow("subscription", &id)).await;
    assert!(event.contains(r#""code":"UNAVAILABLE""#), "{event:.200}");
    assert!(event.contains(r#""path":["uploadSession"]"#), "only this event fails: {event:.200}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_query_over_the_time_limit_fails_over_websocket() {
    let (_app, user, id) = with_short_timeout().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = tokio::spawn(axum::serve(listener, user.router.clone()).into_future());
    let received = tokio::task::spawn_blocking(move || {
        let mut socket = Socket::open(&address.to_string());
        socket.identify(&user.token);
        socket.send_message(&json!({ "type": "subscribe", "id": "1", "payload": slow("query", &id) }));
        socket.receive().unwrap().1
    });
    let message = String::from_utf8(received.await.unwrap()).unwrap();
    assert!(message.contains(r#""code":"UNAVAILABLE""#), "{message:.200}");
    server.abort();
}

#[tokio::test]
async fn a_page_over_rest_ends_before_its_json_is_too_long() {
    let app = with_many_parts(|_| ()).await;
    let user = app.user("ann").await;
    let mut ids = create(&app, &user, 30).await;
    ids.reverse();
    let (mut found, mut after) = (Vec::new(), String::new());
    loop {
        assert!(found.len() <= ids.len(), "the list has no end");
        let answer = user.get(&format!("/uploads/sessions?limit=100{after}")).await.expect(200);
        assert!(answer.bytes.len() < 3 * 1024 * 1024, "{}", answer.bytes.len());
        let page = answer.json();
        let sessions = page["sessions"].as_array().unwrap();
        found.extend(sessions.iter().map(|session| session["session_id"].as_str().unwrap().to_owned()));
        match page["next"].as_str() {
            Some(next) => after = format!("&after={next}"),
            None => break,
        }
    }
    assert_eq!(found, ids);
}

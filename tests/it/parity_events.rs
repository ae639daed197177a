//! The same events, account and deletion by REST and by GraphQL.

use chrono::TimeDelta;
use serde_json::{Value, json};

use crate::support::{FILE, TestApp, TestUser};

const EVENTS: &str = "query($first: Int, $after: String) { events(first: $first, after: $after) {
    edges { cursor node { id type timestamp data } } nodes { id }
    pageInfo { hasNextPage hasPreviousPage startCursor endCursor } } }";

async fn page(user: &TestUser, first: Option<i32>, after: Option<&str>) -> Value {
    user.data(EVENTS, json!({ "first": first, "after": after })).await["events"].take()
}

fn nodes(page: &Value) -> Vec<Value> {
    page["edges"].as_array().unwrap().iter().map(|edge| edge["node"].clone()).collect()
}

async fn abort(user: &TestUser) {
    let id = user.create_id(5).await;
    user.delete(&format!("/uploads/sessions/{id}")).await.expect(204);
}

#[tokio::test]
async fn both_protocols_have_the_same_events_in_the_same_order() {
    let app = TestApp::on_disk().await;
    let (user, other) = (app.user("ann").await, app.user("bob").await);
    let empty = page(&user, None, None).await;
    let no_page = json!({ "hasNextPage": false, "hasPreviousPage": false, "startCursor": null, "endCursor": null });
    assert_eq!((&empty["edges"], &empty["pageInfo"]), (&json!([]), &no_page));
    let body = json!({ "original_filename": "ü", "total_size_bytes": 0, "auto_finalize": true,
        "metadata": { "b": 1.50, "a": [null] } });
    let stored = user.post("/uploads/sessions", body).await.expect(201).json();
    let second = user.upload(FILE).await;
    abort(&other).await;
    user.delete(&format!("/files/{}", stored["file"]["file_id"].as_str().unwrap())).await.expect(204);
    let delete = "mutation($id: ID!) { deleteFile(input: { id: $id }) {
        uploadFile { file_id: id status sha256 retainUntil } userErrors { code } } }";
    for _ in 0..2 {
        let deleted = user.data(delete, json!({ "id": second["file"]["file_id"] })).await["deleteFile"].take();
        let file = json!({ "file_id": second["file"]["file_id"], "status": "DELETED",
            "sha256": second["file"]["sha256"], "retainUntil": null });
        assert_eq!(deleted, json!({ "uploadFile": file, "userErrors": [] }));
    }
    abort(&user).await;

    let rest = user.get("/events").await.expect(200).json()["events"].take();
    assert_eq!(rest.as_array().unwrap().len(), 5);
    let whole = page(&user, None, None).await;
    assert_eq!(json!(nodes(&whole)), rest);
    assert_eq!(whole["pageInfo"]["hasNextPage"], false);

    let (mut found, mut after) = (Vec::new(), None);
    for (count, has_next) in [(2, true), (2, true), (1, false)] {
        let next = page(&user, Some(2), after.as_deref()).await;
        assert_eq!(next["pageInfo"]["hasNextPage"], has_next);
        assert_eq!(next["pageInfo"]["hasPreviousPage"], after.is_some());
        assert_eq!(next["pageInfo"]["endCursor"], next["edges"][count - 1]["cursor"]);
        found.extend(nodes(&next));
        after = next["pageInfo"]["endCursor"].as_str().map(str::to_owned);
    }
    assert_eq!(json!(found), rest);
    // The last cursor is for later.
    assert_eq!(page(&user, None, after.as_deref()).await["edges"], json!([]));
    abort(&other).await;
    abort(&user).await;
    assert_eq!(nodes(&page(&user, None, after.as_deref()).await).len(), 1);
    assert_eq!(page(&user, Some(0), None).await["edges"], json!([]));
}

#[tokio::test]
async fn both_protocols_refuse_a_cursor_with_the_same_code() {
    let app = TestApp::new().await;
    let user = app.user("ann").await;
    for _ in 0..25 {
        abort(&user).await;
    }
    let first = page(&user, None, None).await;
    assert_eq!(nodes(&first).len(), 20);
    let cursor = first["edges"][0]["cursor"].as_str().unwrap().to_owned();
    let last = page(&user, Some(1_000), None).await;
    assert_eq!(nodes(&last).len(), 25);
    let last = last["pageInfo"]["endCursor"].as_str().unwrap().to_owned();
    let id = nodes(&first)[0]["id"].as_str().unwrap().to_owned();
    app.advance(TimeDelta::days(31));
    app.service.sweep().await;
    let rest = user.get(&format!("/events?after={id}")).await;
    let graphql = user.graphql(EVENTS, json!({ "after": cursor })).await;
    assert_eq!(rest.problem(), (410, "EVENTS_EXPIRED".to_owned()));
    assert_eq!(graphql["errors"][0]["extensions"]["code"], "EVENTS_EXPIRED");
    assert_eq!(graphql["errors"][0]["message"], rest.json()["detail"]);
    assert_eq!(page(&user, None, Some(&last)).await["edges"], json!([]), "this client has seen all removed events");

    for arguments in [json!({ "after": "x" }), json!({ "after": "" }), json!({ "first": -1 })] {
        let refused = user.graphql(EVENTS, arguments.clone()).await;
        assert_eq!(refused["errors"][0]["extensions"]["code"], "INVALID_INPUT", "{arguments} {refused}");
    }
}

#[tokio::test]
async fn long_events_count_in_the_length_of_an_answer() {
    let app = TestApp::with(|config| config.graphql.max_response_bytes = bytesize::ByteSize::kib(64)).await;
    let user = app.user("ann").await;
    let metadata = json!({ "text": "x".repeat(16_000) });
    for _ in 0..5 {
        let body = json!({ "original_filename": "a", "total_size_bytes": 5, "metadata": metadata });
        let id = user.post("/uploads/sessions", body).await.expect(201).json()["session_id"].take();
        user.delete(&format!("/uploads/sessions/{}", id.as_str().unwrap())).await.expect(204);
    }
    let refused = user.graphql(EVENTS, json!({})).await;
    assert_eq!(refused["errors"][0]["extensions"]["code"], "TOO_LARGE", "{refused}");
    assert_eq!(nodes(&page(&user, Some(3), None).await).len(), 3);
}

#[tokio::test]
async fn both_protocols_have_the_same_account() {
    for limit in [None, Some(bytesize::ByteSize::kb(1))] {
        let app = TestApp::on_disk_with(|config| config.limits.owner_max_bytes = limit).await;
        let user = app.user("ann").await;
        for _ in 0..2 {
            let rest = user.get("/me").await.expect(200).json();
            let graphql = user.data("{ viewer { owner bytesUsed bytesLimit openSessions } }", json!({})).await;
            let expected = json!({ "owner": rest["owner"], "bytesUsed": rest["bytes_used"].to_string(),
                "bytesLimit": rest["bytes_limit"].as_u64().map(|limit| limit.to_string()),
                "openSessions": rest["open_sessions"] });
            assert_eq!(graphql["viewer"], expected);
            user.upload(FILE).await;
            user.create(7).await;
        }
    }
}

//! An invalid row affects no other row. The tests write invalid rows directly into the database.

use serde_json::json;

use crate::support::{TestApp, TestUser, file_bytes};

/// Statements that each make a session or its file invalid. They find it by the name of the file.
const BREAK: [&str; 6] = [
    "UPDATE upload_file SET metadata = 'no JSON' WHERE original_filename = 'bad.bin'",
    "UPDATE upload_file SET status = 'NONSENSE' WHERE original_filename = 'bad.bin'",
    "UPDATE upload_session SET status = 'NONSENSE' WHERE filename_key = 'bad.bin'",
    "UPDATE upload_session SET chunk_size_bytes = 0 WHERE filename_key = 'bad.bin'",
    "UPDATE upload_session SET total_size_bytes = -1 WHERE filename_key = 'bad.bin'",
    "UPDATE upload_session SET received_parts = '\\x00' WHERE filename_key = 'bad.bin'",
];

async fn create(user: &TestUser, name: &str) -> String {
    let body = json!({ "original_filename": name, "total_size_bytes": 25 });
    let created = user.post("/uploads/sessions", body).await.expect(201).json();
    created["session_id"].as_str().unwrap().to_owned()
}

/// Creates three sessions with one part each. Makes the second one invalid, and restarts the server.
async fn three(app: TestApp, user: TestUser, statement: &'static str) -> (TestApp, TestUser, [String; 3]) {
    app.expect_damage();
    let ids = [create(&user, "a.bin").await, create(&user, "bad.bin").await, create(&user, "b.bin").await];
    for id in &ids {
        user.put_parts(id, &file_bytes(25), [1]).await;
    }
    app.execute(statement).await;
    let (app, user) = app.restarted_with(user).await;
    (app, user, ids)
}

async fn listed(user: &TestUser) -> Vec<String> {
    let (mut ids, mut after) = (Vec::new(), String::new());
    loop {
        assert!(ids.len() < 1_000, "the list has no end");
        let page = user.get(&format!("/uploads/sessions?limit=1{after}")).await.expect(200).json();
        ids.extend(page["sessions"].as_array().unwrap().iter().map(|session| session["session_id"].to_string()));
        match page["next"].as_str() {
            Some(next) => after = format!("&after={next}"),
            None => return ids,
        }
    }
}

#[tokio::test]
async fn the_other_sessions_are_listed_and_the_invalid_one_can_be_aborted() {
    for statement in BREAK {
        let app = TestApp::on_disk().await;
        let user = app.user("ann").await;
        let (app, user, [older, bad, newer]) = three(app, user, statement).await;
        let others = [json!(newer).to_string(), json!(older).to_string()];
        assert_eq!(listed(&user).await, others, "{statement}");
        let list = "{ uploadSessions(last: 2) { nodes { id file { metadata } } } }";
        let nodes = user.data(list, json!({})).await["uploadSessions"]["nodes"].take();
        assert_eq!(nodes.as_array().unwrap().len(), 2, "{statement}");
        let answer = user.graphql(
            "query($ids: [ID!]!) { nodes(ids: $ids) { id ... on UploadSession { file { id } } } }",
            json!({ "ids": [older, bad, newer] }),
        );
        let answer = answer.await;
        assert_eq!(answer["data"]["nodes"][0]["id"], json!(older), "{statement}: {answer}");
        assert_eq!(answer["data"]["nodes"][2]["id"], json!(newer), "{statement}: {answer}");
        assert_eq!(answer["errors"][0]["extensions"]["code"], "INTERNAL", "{statement}");

        let path = format!("/uploads/sessions/{bad}");
        assert_eq!(user.get(&path).await.problem(), (500, "INTERNAL".to_owned()), "{statement}");
        assert_eq!(app.user("bob").await.delete(&path).await.problem().1, "NOT_FOUND", "{statement}");
        assert_eq!(app.bytes_on_disk().len(), 3, "{statement}");
        user.delete(&path).await.expect(204);
        assert_eq!(app.bytes_on_disk().len(), 2, "{statement}");
        user.delete(&path).await.expect(204);
        user.put_parts(&older, &file_bytes(25), [2, 3]).await;
        user.finalize(&older).await.expect(200);
    }
}

#[tokio::test]
async fn an_abort_of_an_invalid_session_by_graphql_returns_no_session() {
    let app = TestApp::on_disk().await;
    let user = app.user("ann").await;
    let (app, user, [_, bad, _]) = three(app, user, BREAK[0]).await;
    let abort =
        "mutation($id: ID!) { abortUploadSession(input: { id: $id }) { uploadSession { id } userErrors { code } } }";
    let answer = user.data(abort, json!({ "id": bad })).await;
    assert_eq!(answer["abortUploadSession"], json!({ "uploadSession": null, "userErrors": [] }));
    assert_eq!(app.bytes_on_disk().len(), 2);
}

#[tokio::test]
async fn a_session_without_the_row_of_its_file_is_an_error_and_can_be_aborted() {
    let app = TestApp::on_disk().await;
    let user = app.user("ann").await;
    let without_keys = match app.config.stores.database.as_str() {
        "" => "PRAGMA foreign_keys = OFF; DELETE FROM upload_file WHERE original_filename = 'bad.bin'",
        _ => "SET session_replication_role = replica; DELETE FROM upload_file WHERE original_filename = 'bad.bin'",
    };
    let (app, user, [_, bad, _]) = three(app, user, without_keys).await;
    assert_eq!(user.get(&format!("/uploads/sessions/{bad}")).await.problem(), (500, "INTERNAL".to_owned()));
    let query = "query($id: ID!) { with: uploadSession(id: $id) { status file { id } } without: uploadSession(id: $id) { status } }";
    let answer = user.post("/graphql", json!({ "query": query, "variables": { "id": bad } })).await.json();
    assert_eq!(answer["errors"][0]["path"], json!(["with", "file"]));
    assert_eq!(answer["errors"][0]["extensions"]["code"], "INTERNAL");
    let query = "query($id: ID!) { uploadSession(id: $id) { status } }";
    assert_eq!(user.data(query, json!({ "id": bad })).await["uploadSession"]["status"], "IN_PROGRESS");
    user.delete(&format!("/uploads/sessions/{bad}")).await.expect(204);
    assert_eq!(app.bytes_on_disk().len(), 2);
}

#[tokio::test]
async fn an_invalid_part_is_an_error_of_its_session_only() {
    let app = TestApp::on_disk().await;
    let user = app.user("ann").await;
    let (_app, user, ids) = three(
        app,
        user,
        "UPDATE upload_part SET size_bytes = 7 WHERE session_id IN
         (SELECT id FROM upload_session WHERE filename_key = 'bad.bin')",
    )
    .await;
    let query = "query($ids: [ID!]!) { nodes(ids: $ids) { ... on UploadSession { parts { nodes { partNumber } } } } }";
    let answer = user.graphql(query, json!({ "ids": ids })).await;
    let nodes: Vec<bool> = answer["data"]["nodes"].as_array().unwrap().iter().map(|node| node.is_object()).collect();
    assert_eq!(nodes, [true, false, true], "{answer}");
    assert_eq!(answer["errors"][0]["extensions"]["code"], "INTERNAL");
}

#[tokio::test]
async fn the_sweep_ends_an_invalid_session_only_if_its_row_says_that_it_has_expired() {
    for statement in BREAK {
        let app = TestApp::on_disk().await;
        let user = app.user("ann").await;
        let (app, user, [older, ..]) = three(app, user, statement).await;
        app.service.sweep().await;
        assert_eq!(app.bytes_on_disk().len(), 3, "{statement}");
        for _ in 0..8 {
            app.advance(chrono::TimeDelta::days(1));
            app.service.sweep().await;
        }
        assert_eq!(user.status(&older).await["status"], "ABORTED", "{statement}");
        // A session with an invalid status may have ended, so it does not expire.
        let left = usize::from(statement.contains("upload_session SET status"));
        assert_eq!(app.bytes_on_disk().len(), left, "{statement}");
    }
}

#[tokio::test]
async fn a_hundred_invalid_rows_do_not_block_the_sweep() {
    let app = TestApp::on_disk().await;
    app.expect_damage();
    let user = app.user("ann").await;
    for _ in 0..101 {
        create(&user, "bad.bin").await;
    }
    app.advance(chrono::TimeDelta::hours(1));
    let last = create(&user, "a.bin").await;
    app.execute(BREAK[0]).await;
    app.advance(chrono::TimeDelta::days(8));
    assert_eq!(app.service.sweep().await.expired, 102);
    assert_eq!(user.status(&last).await["status_reason"], "expired");
    assert_eq!(listed(&user).await, [json!(last).to_string()]);
}

#[tokio::test]
async fn an_owner_keeps_a_complete_file_whose_session_has_a_damaged_status() {
    for statement in [BREAK[2], BREAK[3]] {
        let app = TestApp::on_disk().await;
        app.expect_damage();
        let user = app.user("ann").await;
        let id = create(&user, "bad.bin").await;
        user.put_parts(&id, &file_bytes(25), 1..=3).await;
        let file = user.finalize(&id).await.expect(200).json()["file"]["file_id"].as_str().unwrap().to_owned();
        app.execute(statement).await;
        let aborted = user.delete(&format!("/uploads/sessions/{id}")).await;
        assert_eq!(aborted.problem(), (409, "SESSION_CLOSED".to_owned()), "{statement}");
        app.service.sweep().await;
        let content = user.get(&format!("/files/{file}/content")).await.expect(200);
        assert_eq!(content.bytes, file_bytes(25), "{statement}");
    }
}

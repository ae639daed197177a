//! The number of SQL statements of a GraphQL query.

use serde_json::json;

use crate::support::{TestApp, TestUser, file_bytes};

async fn app_with_sessions(count: usize) -> (TestApp, TestUser, Vec<String>) {
    let app = TestApp::new().await;
    let user = app.user("ann").await;
    let file = file_bytes(45);
    let mut ids = Vec::new();
    for _ in 0..count {
        let id = user.create_id(file.len()).await;
        user.put_parts(&id, &file, [1, 2, 4]).await;
        ids.push(id);
    }
    let (app, user) = app.restarted_with(user).await;
    (app, user, ids)
}

const FIELDS: &str =
    "id status receivedPartsText file { originalFilename sha256 } parts(first: 5) { nodes { sha256 } }";

#[tokio::test]
async fn a_page_of_50_sessions_with_file_and_parts_takes_two_statements() {
    let (app, user, _) = app_with_sessions(50).await;
    for first in [1, 10, 50] {
        let query = format!("query {{ uploadSessions(first: {first}) {{ nodes {{ {FIELDS} }} }} }}");
        let (statements, data) = app.statements(user.data(&query, json!({}))).await;
        let nodes = data["uploadSessions"]["nodes"].as_array().unwrap();
        assert_eq!((nodes.len(), nodes[0]["parts"]["nodes"].as_array().unwrap().len()), (first, 3));
        assert_eq!(statements, 2, "one for sessions and files, one for parts");
    }
}

#[tokio::test]
async fn fifty_sessions_by_id_take_one_statement_for_sessions_and_files_and_one_for_parts() {
    let (app, user, ids) = app_with_sessions(50).await;
    for (fields, expected) in [("id status receivedPartsText", 1), ("id file { id }", 1), (FIELDS, 2)] {
        let aliases: Vec<_> =
            ids.iter().enumerate().map(|(n, id)| format!("s{n}: uploadSession(id: \"{id}\") {{ {fields} }}")).collect();
        let query = format!("query {{ {} }}", aliases.join(" "));
        let (statements, data) = app.statements(user.data(&query, json!({}))).await;
        assert_eq!((statements, &data["s49"]["id"]), (expected, &json!(ids[49])), "{fields}");
    }
}

/// This holds for every way to select the file. REST also takes one statement: see `session_status`.
#[tokio::test]
async fn one_session_with_its_file_takes_one_statement() {
    let (app, user, ids) = app_with_sessions(3).await;
    for (query, id) in [
        "query($id: ID!) { found: uploadSession(id: $id) { status file { originalFilename } } }",
        "query($id: ID!) { found: uploadSession(id: $id) { status ...F } } fragment F on UploadSession { its: file { id } }",
        "query($id: ID!) { found: node(id: $id) { ... on UploadSession { status file { id } } } }",
    ]
    .into_iter()
    .zip(ids)
    {
        let (statements, data) = app.statements(user.data(query, json!({ "id": id }))).await;
        assert_eq!((statements, &data["found"]["status"]), (1, &json!("IN_PROGRESS")), "{query}");
    }
}

#[tokio::test]
async fn one_session_that_is_selected_twice_has_one_state() {
    let (app, user, ids) = app_with_sessions(1).await;
    let query =
        "query($id: ID!) { a: uploadSession(id: $id) { version } b: uploadSession(id: $id) { version file { id } } }";
    let (statements, data) = app.statements(user.data(query, json!({ "id": ids[0] }))).await;
    assert_eq!(data["a"]["version"], data["b"]["version"]);
    assert_eq!(statements, 1);
}

#[tokio::test]
async fn one_session_with_many_parts_takes_one_statement() {
    let app = TestApp::new().await;
    let user = app.user("ann").await;
    let file = file_bytes(3_000);
    let id = user.create_id(file.len()).await;
    user.put_parts(&id, &file, (1..=300).step_by(2)).await;
    let (app, user) = app.restarted_with(user).await;
    let query = "query($id: ID!) { uploadSession(id: $id) { completedParts receivedParts { first last } missingParts { count } } }";
    let (statements, data) = app.statements(user.data(query, json!({ "id": id }))).await;
    assert_eq!((statements, &data["uploadSession"]["completedParts"]), (1, &json!(150)));
}

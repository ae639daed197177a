//! Listing files.

use serde_json::{Value, json};

use crate::support::{TestApp, TestUser};

async fn page(user: &TestUser, query: &str) -> (Vec<Value>, Value) {
    let body = user.get(&format!("/files{query}")).await.expect(200).json();
    let ids = body["files"].as_array().unwrap().iter().map(|file| file["file_id"].clone()).collect();
    (ids, body["next"].clone())
}

/// The ids of the files by GraphQL, with these arguments.
async fn by_graphql(user: &TestUser, arguments: &str) -> Vec<Value> {
    let query = format!("{{ uploadFiles(first: 100{arguments}) {{ nodes {{ id }} }} }}");
    let data = user.data(&query, json!({})).await;
    data["uploadFiles"]["nodes"].as_array().unwrap().iter().map(|file| file["id"].clone()).collect()
}

/// Creates a session for a file with this name. Returns the ids of the session and of the file.
async fn create(user: &TestUser, name: &str) -> (String, Value) {
    let body = json!({ "original_filename": name, "total_size_bytes": 5 });
    let session = user.post("/uploads/sessions", body).await.expect(201).json();
    (session["session_id"].as_str().unwrap().to_owned(), session["file"]["file_id"].clone())
}

async fn store(user: &TestUser, name: &str) -> Value {
    let (session, file) = create(user, name).await;
    user.put(&session, 1, "01234").await.expect(201);
    user.finalize(&session).await.expect(200);
    file
}

#[tokio::test]
async fn files_are_listed_newest_first_by_cursor() {
    let app = TestApp::new().await;
    let (user, other) = (app.user("ann").await, app.user("bob").await);
    create(&other, "a.bin").await;
    let mut ids = Vec::new();
    for _ in 0..5 {
        ids.insert(0, create(&user, "a.bin").await.1);
    }
    assert_eq!(page(&user, "").await, (ids.clone(), json!(null)));
    assert_eq!(by_graphql(&user, "").await, ids);
    let (first, next) = page(&user, "?limit=2").await;
    assert_eq!(first, ids[..2]);
    let (second, next) = page(&user, &format!("?limit=2&after={}", next.as_str().unwrap())).await;
    assert_eq!(second, ids[2..4]);
    let last = page(&user, &format!("?limit=2&after={}", next.as_str().unwrap())).await;
    assert_eq!(last, (ids[4..].to_vec(), json!(null)));
    let query = "query($last: Int, $before: String) { uploadFiles(last: $last, before: $before) {
        nodes { id } pageInfo { startCursor hasPreviousPage hasNextPage } } }";
    let oldest = user.data(query, json!({ "last": 2 })).await["uploadFiles"].take();
    assert_eq!(oldest["nodes"], json!([{ "id": ids[3] }, { "id": ids[4] }]));
    assert_eq!(oldest["pageInfo"]["hasPreviousPage"], true);
    let before = &oldest["pageInfo"]["startCursor"];
    let rest = user.data(query, json!({ "last": 3, "before": before })).await["uploadFiles"].take();
    assert_eq!(rest["nodes"], json!([{ "id": ids[0] }, { "id": ids[1] }, { "id": ids[2] }]));
    assert_eq!(rest["pageInfo"]["hasPreviousPage"], false);
    assert_eq!(rest["pageInfo"]["hasNextPage"], true);
}

#[tokio::test]
async fn both_protocols_filter_files_by_status_and_name() {
    let app = TestApp::on_disk().await;
    let user = app.user("ann").await;
    let (_, uploading) = create(&user, "a.bin").await;
    let (begun, in_progress) = create(&user, "b.bin").await;
    user.put(&begun, 1, "01234").await.expect(201);
    let (aborted, failed) = create(&user, "gro\u{fc}.bin").await;
    user.delete(&format!("/uploads/sessions/{aborted}")).await.expect(204);
    let stored = store(&user, "grou\u{308}.bin").await;
    let deleted = store(&user, "a.bin").await;
    user.delete(&format!("/files/{}", deleted.as_str().unwrap())).await.expect(204);
    for (status, expected) in [
        ("UPLOADING", vec![&in_progress, &uploading]),
        ("STORED", vec![&stored]),
        ("FAILED", vec![&failed]),
        ("DELETED", vec![&deleted]),
    ] {
        let found = page(&user, &format!("?status={status}")).await.0;
        assert_eq!(found.iter().collect::<Vec<_>>(), expected, "{status}");
        assert_eq!(by_graphql(&user, &format!(", status: {status}")).await, found, "{status}");
        for id in found {
            let record = user.get(&format!("/files/{}", id.as_str().unwrap())).await.expect(200).json();
            assert_eq!(record["status"], status);
        }
    }
    let named = page(&user, "?original_filename=gro%C3%BC.bin").await.0;
    assert_eq!(named, [stored, failed.clone()]);
    assert_eq!(by_graphql(&user, ", originalFilename: \"grou\\u0308.bin\"").await, named);
    assert_eq!(page(&user, "?original_filename=gro%C3%BC.bin&status=FAILED").await.0, [failed]);
    assert_eq!(page(&user, "?original_filename=a.bin").await.0, [deleted, uploading]);
}

#[tokio::test]
async fn a_list_has_the_records_and_costs_one_statement() {
    let app = TestApp::new().await;
    let user = app.user("ann").await;
    let (_, id) = create(&user, "a.bin").await;
    let (statements, list) = app.statements(user.get("/files")).await;
    assert_eq!(statements, 1);
    let record = user.get(&format!("/files/{}", id.as_str().unwrap())).await.expect(200).json();
    assert_eq!(list.json()["files"], json!([record]));
}

#[tokio::test]
async fn a_file_is_found_by_its_id_by_its_owner_alone() {
    let app = TestApp::new().await;
    let (user, other) = (app.user("ann").await, app.user("bob").await);
    let (_, id) = create(&user, "a.bin").await;
    let query = "query($id: ID!) { uploadFile(id: $id) { id originalFilename status } }";
    let found = user.data(query, json!({ "id": id })).await;
    assert_eq!(found["uploadFile"], json!({ "id": id, "originalFilename": "a.bin", "status": "UPLOADING" }));
    assert_eq!(other.data(query, json!({ "id": id })).await["uploadFile"], json!(null));
    assert_eq!(user.data(query, json!({ "id": "x" })).await["uploadFile"], json!(null));
}

#[tokio::test]
async fn invalid_parameters_are_refused() {
    let app = TestApp::new().await;
    let user = app.user("ann").await;
    for query in ["?status=INIT", "?limit=0", "?limit=x", "?after=x", "?page=2", "?original_filename=", "?owner=bob"] {
        let answer = user.get(&format!("/files{query}")).await;
        assert_eq!(answer.problem(), (400, "INVALID_INPUT".to_owned()), "{query}");
    }
    let wrong = user.send(user.request("PUT", "/files").body(axum::body::Body::empty()).unwrap()).await;
    assert_eq!(wrong.problem(), (405, "METHOD_NOT_ALLOWED".to_owned()));
    for method in ["GET", "HEAD", "POST"] {
        assert!(wrong.header("allow").contains(method), "{wrong:?}");
    }
}

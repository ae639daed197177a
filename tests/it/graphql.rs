//! Queries and mutations.

use serde_json::{Value, json};

use crate::support::{TestApp, crc64nvme, file_bytes, sha256_hex};

#[tokio::test]
async fn ranges_of_parts_can_be_read_in_pages() {
    let app = TestApp::new().await;
    let user = app.user("ann").await;
    let file = file_bytes(95);
    let id = user.create_id(file.len()).await;
    user.put_parts(&id, &file, [1, 2, 3, 5, 7, 8]).await;
    let query = "query($id: ID!, $after: Int) { uploadSession(id: $id) {
        receivedParts(first: 1, after: $after) { first last } missingParts(first: 1, after: $after) { first last } } }";
    for (after, received, missing) in [
        (json!(null), json!([{ "first": 1, "last": 3 }]), json!([{ "first": 4, "last": 4 }])),
        (json!(2), json!([{ "first": 3, "last": 3 }]), json!([{ "first": 4, "last": 4 }])),
        (json!(5), json!([{ "first": 7, "last": 8 }]), json!([{ "first": 6, "last": 6 }])),
        (json!(8), json!([]), json!([{ "first": 9, "last": 10 }])),
        (json!(10), json!([]), json!([])),
    ] {
        let found = user.data(query, json!({ "id": id, "after": after })).await["uploadSession"].take();
        assert_eq!(found, json!({ "receivedParts": received, "missingParts": missing }), "{after}");
    }
    let negative = user.graphql(query, json!({ "id": id, "after": -1 })).await;
    assert_eq!(negative["errors"][0]["extensions"]["code"], "INVALID_INPUT", "{negative}");
}

#[tokio::test]
async fn a_file_can_be_uploaded_with_graphql_for_control_and_put_for_bytes() {
    let app = TestApp::on_disk().await;
    let user = app.user("ann").await;
    let create = "mutation($input: CreateUploadSessionInput!) { createUploadSession(input: $input) {
        uploadSession { id status totalParts chunkSizeBytes totalSizeBytes missingParts { first last count } }
        userErrors { code field message } } }";
    let input = json!({ "originalFilename": "a.bin", "totalSizeBytes": "25", "metadata": { "k": [1, null] } });
    let created = user.data(create, json!({ "input": input })).await["createUploadSession"].take();
    assert_eq!(created["userErrors"], json!([]));
    let session = &created["uploadSession"];
    assert_eq!((&session["totalSizeBytes"], &session["chunkSizeBytes"]), (&json!("25"), &json!("10")));
    assert_eq!(session["missingParts"], json!([{ "first": 1, "last": 3, "count": 3 }]));
    let id = session["id"].as_str().unwrap();

    let finalize = "mutation($id: ID!) { finalizeUploadSession(input: { id: $id }) {
        uploadSession { status missingParts { first last } file { status crc64nvme metadata } }
        userErrors { code message } } }";
    user.put(id, 2, "abcdefghij").await.expect(201);
    let early = user.data(finalize, json!({ "id": id })).await["finalizeUploadSession"].take();
    assert_eq!(early["userErrors"][0]["code"], "PARTS_MISSING");
    assert_eq!(early["uploadSession"]["missingParts"], json!([{ "first": 1, "last": 1 }, { "first": 3, "last": 3 }]));

    user.put_parts(id, b"0123456789abcdefghijKLMNO", [1, 3]).await;
    let done = user.data(finalize, json!({ "id": id })).await["finalizeUploadSession"].take();
    let file = json!({
        "status": "STORED", "crc64nvme": crc64nvme(b"0123456789abcdefghijKLMNO"), "metadata": { "k": [1, null] }
    });
    assert_eq!(done["uploadSession"], json!({ "status": "COMPLETE", "missingParts": [], "file": file }));
}

#[tokio::test]
async fn user_errors_name_the_input_field() {
    let app = TestApp::new().await;
    let user = app.user("ann").await;
    let create = "mutation($input: CreateUploadSessionInput!) { createUploadSession(input: $input) {
        uploadSession { id } userErrors { code field } } }";
    for (input, code, field) in [
        (json!({ "originalFilename": "", "totalSizeBytes": 1 }), "INVALID_INPUT", json!(["input", "originalFilename"])),
        (
            json!({ "originalFilename": "a", "totalSizeBytes": 1, "sha256": "x" }),
            "INVALID_INPUT",
            json!(["input", "sha256"]),
        ),
        (json!({ "originalFilename": "a", "totalSizeBytes": "100001" }), "TOO_LARGE", json!(null)),
    ] {
        let created = user.data(create, json!({ "input": input })).await["createUploadSession"].take();
        assert_eq!(created, json!({ "uploadSession": null, "userErrors": [{ "code": code, "field": field }] }));
    }
}

#[tokio::test]
async fn sessions_can_be_paged_in_both_directions() {
    let app = TestApp::new().await;
    let user = app.user("ann").await;
    let mut ids = Vec::new();
    for _ in 0..5 {
        ids.insert(0, user.create_id(5).await);
    }
    let query = "query($first: Int, $after: String, $last: Int, $before: String) {
        uploadSessions(first: $first, after: $after, last: $last, before: $before) {
            nodes { id } pageInfo { hasPreviousPage hasNextPage startCursor endCursor } } }";
    let page = async |variables: Value| {
        let page = user.data(query, variables).await["uploadSessions"].take();
        let ids: Vec<_> =
            page["nodes"].as_array().unwrap().iter().map(|node| node["id"].as_str().unwrap().to_owned()).collect();
        (ids, page["pageInfo"].clone())
    };
    let (first, info) = page(json!({ "first": 2 })).await;
    assert_eq!(
        (first, &info["hasNextPage"], &info["hasPreviousPage"]),
        (ids[..2].to_vec(), &json!(true), &json!(false))
    );
    let (next, info) = page(json!({ "first": 10, "after": info["endCursor"] })).await;
    assert_eq!((next, &info["hasNextPage"]), (ids[2..].to_vec(), &json!(false)));
    let (last, info) = page(json!({ "last": 2 })).await;
    assert_eq!((last, &info["hasPreviousPage"]), (ids[3..].to_vec(), &json!(true)));
    let (before, _) = page(json!({ "last": 2, "before": info["startCursor"] })).await;
    assert_eq!(before, ids[1..3]);
    assert_eq!(page(json!({ "first": 0 })).await.0, [""; 0]);
}

#[tokio::test]
async fn parts_are_paged_by_number_with_their_digests() {
    let app = TestApp::new().await;
    let user = app.user("ann").await;
    let file = file_bytes(45);
    let id = user.create_id(file.len()).await;
    user.put_parts(&id, &file, [5, 1, 3]).await;
    let query = "query($id: ID!, $after: String) { uploadSession(id: $id) { parts(first: 2, after: $after) {
        nodes { partNumber offsetBytes sizeBytes sha256 } pageInfo { hasNextPage hasPreviousPage endCursor } } } }";
    let first = user.data(query, json!({ "id": id })).await["uploadSession"]["parts"].take();
    assert_eq!((&first["nodes"][0]["partNumber"], &first["nodes"][1]["partNumber"]), (&json!(1), &json!(3)));
    let after = &first["pageInfo"]["endCursor"];
    let rest = user.data(query, json!({ "id": id, "after": after })).await["uploadSession"]["parts"].take();
    let last = json!({ "partNumber": 5, "offsetBytes": "40", "sizeBytes": "5", "sha256": sha256_hex(&file[40..]) });
    assert_eq!(rest["nodes"], json!([last]));
    assert_eq!((&rest["pageInfo"]["hasNextPage"], &rest["pageInfo"]["hasPreviousPage"]), (&json!(false), &json!(true)));
}

#[tokio::test]
async fn node_finds_sessions_and_files_by_id() {
    let app = TestApp::new().await;
    let user = app.user("ann").await;
    let session = user.create(5).await;
    let (id, file) = (&session["session_id"], &session["file"]["file_id"]);
    let query = "query($ids: [ID!]!) { nodes(ids: $ids) { __typename id } }";
    let found = user.data(query, json!({ "ids": [file, "nonsense", id] })).await;
    let expected =
        json!([{ "__typename": "UploadFile", "id": file }, null, { "__typename": "UploadSession", "id": id }]);
    assert_eq!(found["nodes"], expected);
    let too_many = user.graphql(query, json!({ "ids": vec!["x"; 101] })).await;
    assert_eq!(too_many["errors"][0]["extensions"]["code"], "INVALID_INPUT");
}

#[tokio::test]
async fn every_error_has_a_code() {
    let app = TestApp::new().await;
    let user = app.user("ann").await;
    for query in [
        "{",
        "{ nothing }",
        "{ uploadSession { id } }",
        "{ uploadSessions(first: -1) { nodes { id } } }",
        "{ uploadSessions(after: \"x\") { nodes { id } } }",
        "mutation { createUploadSession(input: { originalFilename: \"a\", totalSizeBytes: -1 }) { userErrors { code } } }",
    ] {
        let answer = user.graphql(query, json!({})).await;
        assert_eq!(answer["errors"][0]["extensions"]["code"], "INVALID_INPUT", "{query}: {answer}");
    }
}

#[tokio::test]
async fn parts_can_be_paged_from_the_end() {
    let app = TestApp::new().await;
    let user = app.user("ann").await;
    let file = file_bytes(95);
    let id = user.create_id(file.len()).await;
    user.put_parts(&id, &file, [1, 2, 4, 6, 7, 10]).await;
    let query = "query($id: ID!, $before: String) { uploadSession(id: $id) { parts(last: 2, before: $before) {
        nodes { partNumber } pageInfo { hasPreviousPage hasNextPage startCursor } } } }";
    let page = async |before: Value| {
        let parts = user.data(query, json!({ "id": id, "before": before })).await["uploadSession"]["parts"].take();
        let numbers: Vec<_> =
            parts["nodes"].as_array().unwrap().iter().map(|part| part["partNumber"].clone()).collect();
        (json!(numbers), parts["pageInfo"].clone())
    };
    let (last, info) = page(json!(null)).await;
    assert_eq!((last, &info["hasNextPage"], &info["hasPreviousPage"]), (json!([7, 10]), &json!(false), &json!(true)));
    let (before, info) = page(info["startCursor"].clone()).await;
    assert_eq!((before, &info["hasNextPage"], &info["hasPreviousPage"]), (json!([4, 6]), &json!(true), &json!(true)));
}

//! One session, several protocols: a tus upload as REST and GraphQL see it, and other sessions by tus.

use serde_json::json;

use crate::support::{FILE, TestApp, assert_stored_by_tus, sha256_hex};

const SESSION: &str = "query($id: ID!) { uploadSession(id: $id) {
    status completedParts receivedPartsText bytesReceived contiguousBytes version } }";

#[tokio::test]
async fn a_tus_upload_is_a_session_like_any_other() {
    let app = TestApp::on_disk().await;
    let user = app.user("ann").await;
    let id = user.tus_create(25, "filename YS5iaW4=").await;
    user.tus_patch(&id, 0, &FILE[..17]).await.expect(204);

    let session = user.status(&id).await;
    for (field, value) in [
        ("status", json!("IN_PROGRESS")),
        ("received_parts", json!(["1"])),
        ("missing_parts", json!(["2-3"])),
        ("completed_parts", json!(1)),
        ("bytes_received", json!(10)),
        ("contiguous_bytes", json!(17)),
        ("auto_finalize", json!(true)),
    ] {
        assert_eq!(session[field], value, "{field}");
    }
    assert_eq!(session["file"]["original_filename"], "a.bin");
    let graphql = &user.data(SESSION, json!({ "id": id })).await["uploadSession"];
    let expected = json!({
        "status": "IN_PROGRESS", "completedParts": 1, "receivedPartsText": "1", "bytesReceived": "10",
        "contiguousBytes": "17", "version": session["version"].to_string(),
    });
    assert_eq!(graphql["contiguousBytes"], expected["contiguousBytes"], "{graphql}");
    assert_eq!(graphql["receivedPartsText"], expected["receivedPartsText"], "{graphql}");
    assert_eq!(graphql["status"], expected["status"], "{graphql}");

    let parts = user.get(&format!("/uploads/sessions/{id}/parts")).await.expect(200).json();
    assert_eq!(parts["parts"].as_array().unwrap().len(), 1);
    assert_eq!(parts["parts"][0]["sha256"], sha256_hex(&FILE[..10]));
    assert_eq!(user.finalize(&id).await.problem(), (409, "PARTS_MISSING".to_owned()));

    // Every tail is a new version of the session.
    user.tus_patch(&id, 17, &FILE[17..18]).await.expect(204);
    assert!(user.status(&id).await["version"].as_u64() > session["version"].as_u64());
    user.tus_patch(&id, 18, &FILE[18..]).await.expect(204);
    // The part that came in pieces has the digest of its bytes.
    let part = user.get(&format!("/uploads/sessions/{id}/parts/2")).await.expect(200).json();
    assert_eq!(part["sha256"], sha256_hex(&FILE[10..20]));
    assert_stored_by_tus(&user, &id).await;
}

#[tokio::test]
async fn a_session_of_graphql_is_sent_by_tus_and_finished_by_put() {
    let app = TestApp::on_disk().await;
    let user = app.user("ann").await;
    let create = "mutation($input: CreateUploadSessionInput!) {
        createUploadSession(input: $input) { uploadSession { id } } }";
    let input = json!({ "originalFilename": "a.bin", "totalSizeBytes": 25 });
    let created = user.data(create, json!({ "input": input })).await;
    let id = created["createUploadSession"]["uploadSession"]["id"].as_str().unwrap();

    user.tus_patch(id, 0, &FILE[..17]).await.expect(204);
    assert_eq!(user.put(id, 2, "XXXXXXXXXX").await.problem(), (409, "PART_CONFLICT".to_owned()));
    user.put_parts(id, FILE, [2, 3]).await;
    // The client of tus expects that the last byte finalizes, whoever brings it.
    assert_eq!(user.tus_offset(id).await, 25);
    assert_stored_by_tus(&user, id).await;
}

#[tokio::test]
async fn a_session_of_rest_is_finished_by_tus() {
    let app = TestApp::on_disk().await;
    let user = app.user("ann").await;
    // The client sends all bytes; those that came by PUT are compared.
    for (parts, offset) in [(vec![1], 10), (vec![3], 0), (vec![1, 3], 10), (vec![2, 3], 0), (vec![1, 2], 20)] {
        let id = user.create_id(25).await;
        user.put_parts(&id, FILE, parts.clone()).await;
        assert_eq!(user.tus_offset(&id).await, offset, "{parts:?}");
        let patched = user.tus_patch(&id, offset, &FILE[offset..]).await.expect(204);
        assert_eq!(patched.header("upload-offset"), "25");
        assert_stored_by_tus(&user, &id).await;
    }
}

#[tokio::test]
async fn an_offset_never_jumps_over_parts_that_came_by_put() {
    let app = TestApp::on_disk().await;
    let user = app.user("ann").await;
    let id = user.create_id(25).await;
    user.put_parts(&id, FILE, [2]).await;
    // Clients rely on this: the offset is the old one and the number of bytes that they sent.
    let patched = user.tus_patch(&id, 0, &FILE[..10]).await.expect(204);
    assert_eq!(patched.header("upload-offset"), "10");
    let patched = user.tus_patch(&id, 10, &FILE[10..20]).await.expect(204);
    assert_eq!(patched.header("upload-offset"), "20");
    user.tus_patch(&id, 20, &FILE[20..]).await.expect(204);
    assert_stored_by_tus(&user, &id).await;
}

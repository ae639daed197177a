//! Links to the content of one file.

use axum::body::Body;
use chrono::TimeDelta;
use serde_json::{Value, json};

use crate::support::{Answer, TestApp, TestUser, file_bytes};

async fn store(user: &TestUser, file: &[u8]) -> String {
    user.upload(file).await["file"]["file_id"].as_str().unwrap().to_owned()
}

async fn link(user: &TestUser, file: &str, body: Value) -> Value {
    user.post(&format!("/files/{file}/links"), body).await.expect(201).json()
}

/// A request without a token in a header.
async fn follow(app: &TestApp, method: &str, url: &Value, range: Option<&str>) -> Answer {
    let nobody = app.anonymous();
    let mut request = nobody.request(method, url.as_str().unwrap());
    if let Some(range) = range {
        request = request.header("range", range);
    }
    nobody.send(request.body(Body::empty()).unwrap()).await
}

#[tokio::test]
async fn a_link_needs_no_header_and_serves_ranges() {
    let app = TestApp::on_disk().await;
    let owner = app.user("ann").await;
    let file = file_bytes(95);
    let id = store(&owner, &file).await;
    let created = owner.post(&format!("/files/{id}/links"), json!({ "expires_in": "10m" })).await.expect(201);
    assert_eq!(created.header("cache-control"), "no-store");
    let url = created.json()["url"].take();
    assert!(url.as_str().unwrap().starts_with(&format!("/files/{id}/content?link=pl_")), "{url}");
    let answer = follow(&app, "GET", &url, None).await.expect(200);
    assert_eq!(answer.header("referrer-policy"), "no-referrer");
    assert_eq!(answer.bytes, file);
    assert_eq!(follow(&app, "GET", &url, Some("bytes=10-19")).await.expect(206).bytes, file[10..20]);
    let head = follow(&app, "HEAD", &url, None).await.expect(200);
    assert_eq!((head.header("content-length"), head.bytes.len()), ("95", 0));
    // A header goes before the link.
    let wrong = TestUser { token: "pw_wrong".to_owned(), ..owner.clone() };
    wrong.get(url.as_str().unwrap()).await.expect(401);
    owner.get(url.as_str().unwrap()).await.expect(200);
}

#[tokio::test]
async fn a_link_opens_its_own_file_until_it_expires_or_the_file_is_deleted() {
    let app = TestApp::on_disk().await;
    let owner = app.user("ann").await;
    let (id, other) = (store(&owner, b"0123456789").await, store(&owner, b"abc").await);
    let url = link(&owner, &id, json!({})).await["url"].take();
    let elsewhere = json!(url.as_str().unwrap().replace(&id, &other));
    assert_eq!(follow(&app, "GET", &elsewhere, None).await.problem(), (403, "FORBIDDEN".to_owned()));
    let twice = json!(format!("{}&link=pl_x", url.as_str().unwrap()));
    follow(&app, "GET", &twice, None).await.expect(401);
    app.advance(TimeDelta::minutes(59));
    follow(&app, "GET", &url, None).await.expect(200);
    app.advance(TimeDelta::minutes(2));
    assert_eq!(follow(&app, "GET", &url, None).await.problem(), (401, "UNAUTHENTICATED".to_owned()));
    let url = link(&owner, &id, json!({ "expires_in": "7d" })).await["url"].take();
    follow(&app, "GET", &url, None).await.expect(200);
    owner.delete(&format!("/files/{id}")).await.expect(204);
    assert_eq!(follow(&app, "GET", &url, None).await.problem(), (404, "NOT_FOUND".to_owned()));
    let refused = owner.post(&format!("/files/{id}/links"), json!({})).await;
    assert_eq!(refused.problem(), (404, "NOT_FOUND".to_owned()));
}

#[tokio::test]
async fn a_file_has_a_limited_number_of_links_and_the_sweep_removes_expired_ones() {
    let app = TestApp::on_disk().await;
    let owner = app.user("ann").await;
    let id = store(&owner, b"0123456789").await;
    let path = format!("/files/{id}/links");
    for _ in 0..100 {
        owner.post(&path, json!({})).await.expect(201);
    }
    assert_eq!(owner.post(&path, json!({})).await.problem(), (429, "RATE_LIMITED".to_owned()));
    app.advance(TimeDelta::hours(2));
    app.service.sweep().await;
    assert_eq!(app.number("SELECT COUNT(*) FROM download_link").await, 0);
    owner.post(&path, json!({})).await.expect(201);
}

#[tokio::test]
async fn both_protocols_create_links_and_refuse_with_the_same_code() {
    let app = TestApp::on_disk().await;
    let owner = app.user("ann").await;
    let id = store(&owner, b"0123456789").await;
    let uploading = owner.create(5).await["file"]["file_id"].as_str().unwrap().to_owned();
    let mutation = "mutation($input: CreateDownloadLinkInput!) { createDownloadLink(input: $input) {
        downloadLink { url expiresAt } userErrors { code field message } } }";
    let created = owner.data(mutation, json!({ "input": { "id": id, "expiresIn": "30m" } })).await;
    let created = &created["createDownloadLink"];
    assert_eq!(created["userErrors"], json!([]));
    assert_eq!(follow(&app, "GET", &created["downloadLink"]["url"], None).await.expect(200).bytes, b"0123456789");
    let by_rest = link(&owner, &id, json!({ "expires_in": "30m" })).await;
    assert_eq!(by_rest["expires_at"], created["downloadLink"]["expiresAt"]);
    for (id, expires_in, code) in [
        (id.as_str(), "8d", "INVALID_INPUT"),
        (&id, "0s", "INVALID_INPUT"),
        (&id, "soon", "INVALID_INPUT"),
        (&uploading, "1h", "NOT_FOUND"),
        ("nonsense", "1h", "NOT_FOUND"),
    ] {
        let rest = owner.post(&format!("/files/{id}/links"), json!({ "expires_in": expires_in })).await;
        let graphql = owner.data(mutation, json!({ "input": { "id": id, "expiresIn": expires_in } })).await;
        let refused = &graphql["createDownloadLink"]["userErrors"][0];
        assert_eq!((&rest.json()["code"], &refused["code"]), (&json!(code), &json!(code)), "{id} {expires_in}");
        assert_eq!(refused["message"], rest.json()["detail"]);
    }
}

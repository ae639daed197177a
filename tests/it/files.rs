//! Records and content of files.

use axum::body::Body;
use partway::service::CheckOptions;

use crate::support::{Answer, TestApp, TestUser, file_bytes, sha256_hex};

async fn get_with(user: &TestUser, path: &str, headers: &[(&str, &str)]) -> Answer {
    let mut request = user.request("GET", path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    user.send(request.body(Body::empty()).unwrap()).await
}

#[tokio::test]
async fn a_stored_file_can_be_downloaded_whole_or_in_ranges() {
    let app = TestApp::on_disk().await;
    let user = app.user("ann").await;
    let file = file_bytes(995);
    let id = user.upload(&file).await["file"]["file_id"].as_str().unwrap().to_owned();
    let path = format!("/files/{id}/content");
    // The tag is the SHA-256 if that is known, and else the id.
    let tag = user.get(&path).await.expect(200).header("etag").to_owned();
    assert_eq!(tag, format!("\"{id}\""));
    user.post(&format!("/files/{id}/sha256"), serde_json::json!({})).await.expect(200);

    let whole = user.get(&path).await.expect(200);
    assert!(whole.bytes == file);
    let etag = format!("\"{}\"", sha256_hex(&file));
    assert_eq!((whole.header("etag"), whole.header("content-length")), (etag.as_str(), "995"));
    assert_eq!(whole.header("accept-ranges"), "bytes");
    assert_eq!(whole.header("x-content-type-options"), "nosniff");
    assert!(whole.header("content-disposition").starts_with("attachment; filename=\"a.bin\""));

    for (range, expected, content_range) in [
        ("bytes=0-99", &file[..100], "bytes 0-99/995"),
        ("bytes=990-", &file[990..], "bytes 990-994/995"),
        ("bytes=-5", &file[990..], "bytes 990-994/995"),
    ] {
        let part = get_with(&user, &path, &[("range", range)]).await.expect(206);
        assert_eq!((part.bytes.as_slice(), part.header("content-range")), (expected, content_range));
    }
    let impossible = get_with(&user, &path, &[("range", "bytes=995-")]).await;
    assert_eq!(impossible.problem(), (416, "RANGE_NOT_SATISFIABLE".to_owned()));
    assert_eq!(impossible.header("content-range"), "bytes */995");
    assert_eq!(impossible.json()["size_bytes"], 995);
    get_with(&user, &path, &[("range", "bytes=0-1"), ("if-range", "\"other\"")]).await.expect(200);
    get_with(&user, &path, &[("range", "bytes=0-1"), ("if-range", &etag)]).await.expect(206);
    get_with(&user, &path, &[("if-none-match", &etag)]).await.expect(304);

    let head = user.send(user.request("HEAD", &path).body(Body::empty()).unwrap()).await.expect(200);
    assert_eq!((head.header("content-length"), head.bytes.len()), ("995", 0));
}

#[tokio::test]
async fn a_files_record_has_the_fields_of_the_file_in_its_session() {
    let app = TestApp::new().await;
    let user = app.user("ann").await;
    let done = user.upload(b"0123456789").await;
    let record = user.get(&format!("/files/{}", done["file"]["file_id"].as_str().unwrap())).await.expect(200).json();
    for (field, value) in done["file"].as_object().unwrap() {
        assert_eq!(record[field], *value);
    }
    assert!(record["created_at"].is_string() && record["updated_at"].is_string());
}

#[tokio::test]
async fn a_file_of_an_open_session_has_a_record_but_no_content() {
    let app = TestApp::new().await;
    let user = app.user("ann").await;
    let session = user.create(25).await;
    let path = format!("/files/{}", session["file"]["file_id"].as_str().unwrap());
    assert_eq!(user.get(&path).await.expect(200).json()["status"], "UPLOADING");
    assert_eq!(user.get(&format!("{path}/content")).await.problem(), (404, "NOT_FOUND".to_owned()));
}

#[tokio::test]
async fn the_check_accepts_a_stored_file_and_reports_lost_bytes() {
    let app = TestApp::on_disk().await;
    app.expect_damage();
    let user = app.user("ann").await;
    let done = user.upload(b"0123456789").await;
    let report = app.service.check(CheckOptions::default()).await.unwrap();
    assert_eq!((report.sessions, report.files, report.problems.len()), (1, 1, 0));
    let stored = app.storage().join("stored").join(done["file"]["file_id"].as_str().unwrap());
    std::fs::write(&stored, "short").unwrap();
    assert_eq!(app.service.check(CheckOptions::default()).await.unwrap().problems.len(), 1);
    std::fs::remove_file(&stored).unwrap();
    let answer = user.get(&format!("/files/{}/content", done["file"]["file_id"].as_str().unwrap())).await;
    assert_eq!(answer.problem(), (410, "BYTES_LOST".to_owned()));
}

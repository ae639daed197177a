//! `Upload-Metadata`: what it means for the session, and what a tus client sees of sessions that others created.

use axum::body::Body;
use serde_json::{Value, json};

use crate::support::{Answer, TestApp, TestUser, base64, id_of};

async fn create(user: &TestUser, metadata: &[&str]) -> Answer {
    let request = user.tus("POST", "/uploads/tus").header("upload-length", 5);
    let request = metadata.iter().fold(request, |request, line| request.header("upload-metadata", *line));
    user.send(request.body(Body::empty()).unwrap()).await
}

/// The file of an upload with this metadata.
async fn file(user: &TestUser, metadata: &str) -> Value {
    let id = id_of(&create(user, &[metadata]).await.expect(201));
    user.status(&id).await["file"].take()
}

/// A pair of a key and a value.
fn pair(key: &str, value: impl AsRef<[u8]>) -> String {
    format!("{key} {}", base64(value))
}

#[tokio::test]
async fn metadata_names_the_file_and_its_type() {
    let app = TestApp::new().await;
    let user = app.user("ann").await;
    let long = "ü".repeat(600);
    for (pairs, name, content_type) in [
        (vec![], "unnamed", "application/octet-stream"),
        (vec![pair("filename", "ü.mp4"), pair("filetype", "video/mp4")], "ü.mp4", "video/mp4"),
        (vec![pair("name", "a.mp4"), pair("type", "video/mp4")], "a.mp4", "video/mp4"),
        (vec![pair("name", "a"), pair("filename", "b"), pair("mime_type", "text/plain")], "b", "text/plain"),
        (vec![pair("filename", ""), pair("name", "a")], "a", "application/octet-stream"),
        (vec![pair("filename", "a\r\n\0b\u{7f}"), pair("filetype", "nonsense")], "ab", "application/octet-stream"),
        (vec![pair("filename", " \n "), pair("filetype", "")], "unnamed", "application/octet-stream"),
        (vec![pair("filename", &long)], &"ü".repeat(512), "application/octet-stream"),
        (vec![pair("filetype", "x"), pair("type", "text/plain")], "unnamed", "text/plain"),
        // Short, but not in normal form C.
        (vec![pair("filename", "\u{fb2c}".repeat(200))], &"\u{fb2c}".repeat(170), "application/octet-stream"),
    ] {
        let file = file(&user, &pairs.join(",")).await;
        assert_eq!(
            (&file["original_filename"], &file["content_type"]),
            (&json!(name), &json!(content_type)),
            "{pairs:?}"
        );
    }
}

#[tokio::test]
async fn metadata_is_kept_as_it_was_sent_and_read_as_json() {
    let app = TestApp::new().await;
    let user = app.user("ann").await;
    let sha256 = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    for (line, json, echoed) in [
        (String::new(), json!({}), ""),
        (pair("a", "1"), json!({ "a": "1" }), "a MQ=="),
        ("b,a MQ==".to_owned(), json!({ "b": "", "a": "1" }), "b,a MQ=="),
        ("b ,  a  MQ== ,".to_owned(), json!({ "b": "", "a": "1" }), "b ,  a  MQ== ,"),
        (pair("quote\"d", "\"\\\n"), json!({ "quote\"d": "\"\\\n" }), "quote\"d Ilwk"),
        (pair("relativePath", "null"), json!({}), "relativePath bnVsbA=="),
        (pair("relativePath", "a/b"), json!({ "relativePath": "a/b" }), "relativePath YS9i"),
        // Not UTF-8: JSON has no such text.
        (format!("{},a MQ==", pair("raw", b"\xff\xfe")), json!({ "a": "1" }), "raw //4=,a MQ=="),
        (pair("sha256", sha256), json!({ "sha256": sha256 }), &pair("sha256", sha256)),
    ] {
        let echoed = if line.contains("quote") { line.as_str() } else { echoed };
        let id = id_of(&create(&user, &[&line]).await.expect(201));
        assert_eq!(user.status(&id).await["file"]["metadata"], json, "{line}");
        assert_eq!(user.tus_head(&id).await.expect(200).header("upload-metadata"), echoed.trim());
    }
}

#[tokio::test]
async fn metadata_that_cannot_be_kept_is_refused() {
    let app = TestApp::new().await;
    let user = app.user("ann").await;
    let long = "x".repeat(16 * 1024);
    for (line, field) in [
        ("a ***".to_owned(), "upload_metadata"),
        ("a MQ".to_owned(), "upload_metadata"),
        ("a MQ== MQ==".to_owned(), "upload_metadata"),
        ("a MQ==,a Mg==".to_owned(), "upload_metadata"),
        ("raw //4=,raw //4=".to_owned(), "upload_metadata"),
        ("\u{fc} MQ==".to_owned(), "upload_metadata"),
        (pair("a", &long), "upload_metadata"),
        (pair("sha256", "abc"), "sha256"),
        // Limits of the metadata of every session.
        (pair(&"k".repeat(257), "1"), "metadata"),
        (pair("a", "\0".repeat(4_000)), "metadata"),
    ] {
        let refused = create(&user, &[&line]).await;
        assert_eq!(refused.problem(), (400, "INVALID_INPUT".to_owned()), "{line:.80}");
        assert_eq!(refused.json()["field"], field, "{line:.80}");
    }
    assert_eq!(user.get("/uploads/sessions").await.json()["sessions"], json!([]));
    create(&user, &[&format!("a {}", &base64(&long)[..16 * 1024 - 4])]).await.expect(201);
}

#[tokio::test]
async fn a_session_of_another_protocol_is_described_to_a_tus_client() {
    let app = TestApp::new().await;
    let user = app.user("ann").await;
    let described = async |metadata: Value| {
        let body =
            json!({ "original_filename": "ü", "total_size_bytes": 5, "content_type": "a/b", "metadata": metadata });
        let created = user.post("/uploads/sessions", body).await.expect(201).json();
        user.tus_head(created["session_id"].as_str().unwrap()).await.expect(200).header("upload-metadata").to_owned()
    };
    let file = "filename w7w=,filetype YS9i";
    assert_eq!(described(json!({})).await, file);
    let metadata =
        json!({ "z": "1", "n": 1, "o": {}, "empty": "", "filename": "x", "a b": "x", "a,b": "x", "ü": "x", "": "x" });
    let mut pairs: Vec<_> = described(metadata).await.split(',').skip(2).map(str::to_owned).collect();
    pairs.sort();
    assert_eq!(pairs, ["empty ", "z MQ=="]);
    // What does not fit into the head of an answer is left out.
    let long = described(json!({ "a": "x".repeat(10_000), "b": "1" })).await;
    assert_eq!(long, format!("{file},b MQ=="));
}

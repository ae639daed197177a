//! A whole file in one request, without resumption.

use axum::body::Body;
use bytes::Bytes;
use futures_util::stream;
use serde_json::json;

use crate::support::{Answer, Deadline, FILE, Place, TestApp, TestUser, crc64nvme};

async fn post(user: &TestUser, headers: &[(&str, &str)], body: impl Into<Body>) -> Answer {
    let mut request = user.request("POST", "/files");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    user.send(request.body(body.into()).unwrap()).await
}

fn chunked(bytes: &'static [u8]) -> Body {
    Body::from_stream(stream::iter([Ok::<_, std::io::Error>(Bytes::from_static(bytes))]))
}

fn cut(bytes: &'static [u8]) -> Body {
    let broken = std::io::Error::from(std::io::ErrorKind::ConnectionReset);
    Body::from_stream(stream::iter([Ok(Bytes::from_static(bytes)), Err(broken)]))
}

#[tokio::test]
async fn the_answer_is_the_files_record() {
    for place in Place::each() {
        let (app, _) = TestApp::with_faults(&place).await;
        let user = app.user("ann").await;
        let headers = [
            ("content-type", "text/plain; charset=utf-8"),
            ("content-disposition", "attachment; filename=\"a.txt\""),
            ("host", "files.example"),
            ("x-forwarded-proto", "https"),
        ];
        let stored = post(&user, &headers, FILE).await.expect(201);
        let record = stored.json();
        let path = format!("/files/{}", record["file_id"].as_str().unwrap());
        assert_eq!(stored.header("location"), format!("https://files.example{path}"));
        assert_eq!(stored.header("upload-complete"), "");
        assert_eq!(user.get(&path).await.expect(200).json(), record);
        assert_eq!(user.get(&format!("{path}/content")).await.expect(200).bytes, FILE);
        assert_eq!((&record["original_filename"], &record["status"]), (&json!("a.txt"), &json!("STORED")));
        assert_eq!(record["content_type"], "text/plain; charset=utf-8");
        assert_eq!(record["crc64nvme"], crc64nvme(FILE));
    }
}

#[tokio::test]
async fn a_file_without_a_name_and_a_type_gets_both() {
    let app = TestApp::new().await;
    let user = app.user("ann").await;
    // `curl --data-binary` names this type for every body.
    for headers in [&[][..], &[("content-type", "application/x-www-form-urlencoded")]] {
        let record = post(&user, headers, "x").await.expect(201).json();
        assert_eq!(record["original_filename"], "unnamed");
        assert_eq!(record["content_type"], "application/octet-stream");
    }
}

#[tokio::test]
async fn a_form_is_not_a_file() {
    let app = TestApp::new().await;
    let user = app.user("ann").await;
    let refused = post(&user, &[("content-type", "multipart/form-data; boundary=x")], "--x--").await;
    assert_eq!((refused.problem().0, &refused.json()["field"]), (400, &json!("content_type")));
    let refused = post(&user, &[("content-disposition", "inline; filename*=UTF-8''a%0Ab")], "x").await;
    assert_eq!((refused.problem().0, &refused.json()["field"]), (400, &json!("original_filename")));
}

#[tokio::test]
async fn the_length_must_be_known_and_right() {
    let app = TestApp::on_disk().await;
    let user = app.user("ann").await;
    assert_eq!(post(&user, &[], chunked(FILE)).await.problem(), (411, "LENGTH_REQUIRED".to_owned()));
    let length = |length| [("upload-length", length)];
    let record = post(&user, &length("25"), chunked(FILE)).await.expect(201).json();
    assert_eq!(record["size_bytes"], 25);
    for (wrong, body) in [("24", FILE.into()), ("26", FILE.into()), ("26", chunked(FILE))] {
        let refused = post(&user, &length(wrong), body).await;
        assert_eq!((refused.problem().0, &refused.json()["field"]), (400, &json!("upload_length")), "{wrong}");
    }
    for large in [post(&user, &length("24"), chunked(FILE)).await, post(&user, &[], vec![0; 100_001]).await] {
        assert_eq!(large.problem(), (413, "TOO_LARGE".to_owned()));
        assert_eq!(large.header("upload-limit"), "max-size=100000, min-size=0");
    }
    assert_eq!(app.bytes_on_disk().len(), 1, "only the one file remains");
}

#[tokio::test]
async fn every_declared_digest_is_checked() {
    let app = TestApp::on_disk().await;
    let user = app.user("ann").await;
    // The digests of "0123456789".
    let right = "sha-256=:hNiYd/DUBB77a/kaFvAkjy/Vc+avBcGflr7bn4gveII=:";
    for name in ["content-digest", "repr-digest"] {
        let wanted = [(name, right), ("want-repr-digest", "sha-256=5")];
        let stored = post(&user, &wanted, &FILE[..10]).await.expect(201);
        assert_eq!(stored.header("repr-digest"), right);
        let refused = post(&user, &[(name, right)], FILE).await;
        assert_eq!(refused.problem(), (400, "CHECKSUM_MISMATCH".to_owned()), "{name}");
    }
    let both = [("content-digest", right), ("repr-digest", "sha-256=:ungWv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD/YfIAFa0=:")];
    assert_eq!(post(&user, &both, &FILE[..10]).await.json()["field"], "repr_digest");
    let wrong = "sha-512=:3a81oZNherrMQXNJriBBMRLm+k6JqX6iCp7u5ktV05ohkpkqJ0/BqDa6PCOj/uu9RU1EI2Q86A4qmslPpUyknw==:";
    let refused = post(&user, &[("content-digest", wrong)], FILE).await;
    assert_eq!(refused.problem(), (400, "CHECKSUM_MISMATCH".to_owned()));
    assert_eq!(app.bytes_on_disk().len(), 2, "nothing remains of a refused file");
}

#[tokio::test]
async fn a_cut_request_leaves_nothing_and_can_be_repeated_with_its_key() {
    for place in Place::each() {
        let (app, _) = TestApp::with_faults(&place).await;
        let user = app.user("ann").await;
        let headers = [("upload-length", "25"), ("idempotency-key", "k")];
        for bytes in [&FILE[..0], &FILE[..13], FILE] {
            assert_eq!(post(&user, &headers, cut(bytes)).await.problem(), (503, "UNAVAILABLE".to_owned()));
        }
        let open = user.get("/uploads/sessions?status=IN_PROGRESS").await.expect(200).json();
        assert_eq!(open["sessions"], json!([]), "{place:?}");
        if matches!(place, Place::Folder) {
            assert!(app.bytes_on_disk().is_empty());
        }
        let stored = post(&user, &headers, FILE).await.expect(201);
        let again = post(&user, &headers, FILE).await.expect(201);
        assert_eq!((stored.json(), stored.header("location")), (again.json(), again.header("location")));
    }
}

#[tokio::test]
async fn a_request_after_a_crash_replaces_what_the_first_one_left() {
    let app = TestApp::on_disk().await;
    let user = app.user("ann").await;
    let headers = [("upload-length", "25"), ("idempotency-key", "k")];
    let (sender, receiver) = tokio::sync::mpsc::unbounded_channel();
    let receiver = std::sync::Mutex::new(receiver);
    let body = Body::from_stream(stream::poll_fn(move |cx| receiver.lock().unwrap().poll_recv(cx)));
    sender.send(Ok::<_, std::io::Error>(Bytes::from_static(&FILE[..10]))).unwrap();
    let first = tokio::spawn({
        let user = user.clone();
        async move { post(&user, &headers, body).await }
    });
    let deadline = Deadline::new();
    let has_a_part = async || {
        let open = user.get("/uploads/sessions?status=IN_PROGRESS").await.json();
        open["sessions"][0]["completed_parts"] == 1
    };
    deadline.until("the first part", has_a_part).await;
    let record = post(&user, &headers, FILE).await.expect(201).json();
    assert_eq!(record["size_bytes"], 25);
    sender.send(Ok(Bytes::from_static(&FILE[10..]))).unwrap();
    drop(sender);
    assert_eq!(first.await.unwrap().problem(), (409, "SESSION_CLOSED".to_owned()));
    assert_eq!(app.bytes_on_disk().len(), 1);
}

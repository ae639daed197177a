//! Sending parts.

use axum::body::Body;
use bytes::Bytes;
use futures_util::stream;
use serde_json::json;

use crate::support::{Answer, TestApp, TestUser, crc64nvme, file_bytes, sha256_hex};

/// The digest of "0123456789".
const RIGHT: &str = "sha-256=:hNiYd/DUBB77a/kaFvAkjy/Vc+avBcGflr7bn4gveII=:";

async fn put_with(user: &TestUser, id: &str, number: u32, headers: &[(&str, &str)], body: Body) -> Answer {
    let mut request = user.request("PUT", &format!("/uploads/sessions/{id}/parts/{number}"));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    user.send(request.body(body).unwrap()).await
}

#[tokio::test]
async fn a_part_is_acknowledged_with_its_digest_and_the_sessions_counters() {
    let app = TestApp::new().await;
    let user = app.user("ann").await;
    let id = user.create_id(25).await;
    let receipt = user.put(&id, 3, "01234").await.expect(201).json();
    insta::assert_json_snapshot!(receipt, { ".received_at" => "[time]" });
}

#[tokio::test]
async fn a_replay_is_200_and_other_bytes_are_409_with_both_digests() {
    let app = TestApp::new().await;
    let user = app.user("ann").await;
    let id = user.create_id(25).await;
    let first = user.put(&id, 1, "0123456789").await.expect(201).json();
    let again = user.put(&id, 1, "0123456789").await.expect(200).json();
    assert_eq!(first, again);

    let refused = user.put(&id, 1, "9876543210").await;
    assert_eq!(refused.problem(), (409, "PART_CONFLICT".to_owned()));
    assert_eq!(refused.json()["stored_sha256"], sha256_hex(b"0123456789"));
    assert_eq!(refused.json()["received_sha256"], sha256_hex(b"9876543210"));
    assert_eq!(user.status(&id).await["received_parts"], json!(["1"]));
}

#[tokio::test]
async fn every_answer_about_a_part_has_its_digest_as_the_tag() {
    let app = TestApp::new().await;
    let user = app.user("ann").await;
    let id = user.create_id(25).await;
    let tag = format!("\"{}\"", sha256_hex(b"0123456789"));
    let stored = user.put(&id, 1, "0123456789").await.expect(201);
    let replayed = user.put(&id, 1, "0123456789").await.expect(200);
    let shown = user.get(&format!("/uploads/sessions/{id}/parts/1")).await.expect(200);
    for answer in [stored, replayed, shown] {
        assert_eq!(answer.header("etag"), tag, "{answer:?}");
    }
}

#[tokio::test]
async fn a_declared_digest_decides_a_conflict_before_the_body_is_read() {
    let app = TestApp::new().await;
    let user = app.user("ann").await;
    let id = user.create_id(25).await;
    user.put(&id, 1, "0123456789").await.expect(201);
    // The digest of "abc", which is not the stored part.
    let digest = "sha-256=:ungWv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD/YfIAFa0=:";
    let never = Body::from_stream(stream::pending::<Result<Bytes, std::io::Error>>());
    let answer = put_with(&user, &id, 1, &[("content-digest", digest)], never).await;
    assert_eq!(answer.problem(), (409, "PART_CONFLICT".to_owned()));
}

#[tokio::test]
async fn a_wrong_length_is_refused_before_the_body_is_read() {
    let app = TestApp::on_disk().await;
    let user = app.user("ann").await;
    let id = user.create_id(25).await;
    for (number, length) in [(1, 9), (1, 11), (3, 10)] {
        let answer = user.put(&id, number, vec![0; length]).await;
        assert_eq!(answer.problem(), (400, "PART_SIZE_MISMATCH".to_owned()), "{length} bytes for part {number}");
    }
    assert!(app.bytes_on_disk().is_empty());
}

#[tokio::test]
async fn a_body_of_unknown_length_must_have_the_size_of_the_part() {
    let app = TestApp::new().await;
    let user = app.user("ann").await;
    let id = user.create_id(25).await;
    let chunked = |sizes: &[usize]| {
        let chunks: Vec<_> = sizes.iter().map(|size| Ok::<_, std::io::Error>(Bytes::from(vec![7; *size]))).collect();
        Body::from_stream(stream::iter(chunks))
    };
    for (sizes, received) in [(&[4, 5][..], 9), (&[8, 8], 16), (&[], 0)] {
        let answer = put_with(&user, &id, 1, &[], chunked(sizes)).await;
        assert_eq!(answer.problem(), (400, "PART_SIZE_MISMATCH".to_owned()), "{sizes:?}");
        assert_eq!(answer.json()["received_bytes"], received);
    }
    assert_eq!(user.status(&id).await["received_parts"], json!([]));
    put_with(&user, &id, 1, &[], chunked(&[1, 2, 3, 4])).await.expect(201);
}

#[tokio::test]
async fn a_part_number_out_of_range_is_refused() {
    let app = TestApp::new().await;
    let user = app.user("ann").await;
    let id = user.create_id(25).await;
    for number in ["0", "4", "4294967295", "99999999999999"] {
        let path = format!("/uploads/sessions/{id}/parts/{number}");
        let answer = user.send(user.request("PUT", &path).body("0123456789".into()).unwrap()).await;
        assert_eq!(answer.problem(), (400, "PART_OUT_OF_RANGE".to_owned()), "{number}");
        assert_eq!(answer.json()["total_parts"], 3);
    }
    for number in ["x", "-1", "1.5", "%20"] {
        let path = format!("/uploads/sessions/{id}/parts/{number}");
        let answer = user.send(user.request("PUT", &path).body("0123456789".into()).unwrap()).await;
        assert_eq!(answer.problem(), (400, "INVALID_INPUT".to_owned()), "{number}");
    }
}

#[tokio::test]
async fn a_part_without_its_declared_digest_is_refused() {
    let app = TestApp::new().await;
    let user = app.user("ann").await;
    let id = user.create_id(25).await;
    let wrong = "sha-256=:ungWv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD/YfIAFa0=:";
    let refused = put_with(&user, &id, 1, &[("content-digest", wrong)], "0123456789".into()).await;
    assert_eq!(refused.problem(), (400, "CHECKSUM_MISMATCH".to_owned()));
    assert_eq!(refused.json()["actual_sha256"], sha256_hex(b"0123456789"));
    assert_eq!(user.status(&id).await["received_parts"], json!([]));
    put_with(&user, &id, 1, &[("content-digest", RIGHT)], "0123456789".into()).await.expect(201);
    let unreadable = put_with(&user, &id, 2, &[("content-digest", "sha-256=?")], "0123456789".into()).await;
    assert_eq!(unreadable.problem(), (400, "INVALID_INPUT".to_owned()));
}

#[tokio::test]
async fn a_digest_that_the_server_cannot_check_is_refused() {
    let app = TestApp::new().await;
    let user = app.user("ann").await;
    let id = user.create_id(25).await;
    for header in [
        ("repr-digest", RIGHT),
        ("digest", "SHA-256=x"),
        ("content-md5", "x"),
        ("x-amz-checksum-crc32c", "x"),
        ("x-amz-content-sha256", "x"),
        ("x-goog-hash", "md5=x"),
        ("upload-checksum", "sha1 x"),
        ("trailer", "X-Other, Content-Digest"),
        ("trailer", "x-amz-checksum-sha256"),
    ] {
        let answer = put_with(&user, &id, 1, &[header], "0123456789".into()).await;
        assert_eq!(answer.problem(), (400, "INVALID_INPUT".to_owned()), "{header:?}");
    }
    assert_eq!(user.status(&id).await["received_parts"], json!([]));
    put_with(&user, &id, 1, &[("want-content-digest", "sha-256=1")], "0123456789".into()).await.expect(201);
}

#[tokio::test]
async fn an_encoded_body_is_refused() {
    let app = TestApp::new().await;
    let user = app.user("ann").await;
    let id = user.create_id(25).await;
    for header in [("content-encoding", "gzip"), ("content-range", "bytes 0-9/25")] {
        let answer = put_with(&user, &id, 1, &[header], "0123456789".into()).await;
        assert_eq!(answer.problem(), (400, "INVALID_INPUT".to_owned()), "{header:?}");
    }
    for coding in ["gzip, chunked", "chunked, chunked", "gzip"] {
        let answer = put_with(&user, &id, 1, &[("transfer-encoding", coding)], "0123456789".into()).await;
        assert_eq!(answer.problem(), (400, "INVALID_INPUT".to_owned()), "{coding}");
    }
    put_with(&user, &id, 1, &[("content-encoding", "identity")], "0123456789".into()).await.expect(201);
}

#[tokio::test]
async fn parts_in_any_order_make_the_file() {
    let app = TestApp::on_disk().await;
    let user = app.user("ann").await;
    let file = file_bytes(995);
    let id = user.create_id(file.len()).await;
    user.put_parts(&id, &file, (1..=100).rev().step_by(2)).await;
    user.put_parts(&id, &file, (1..=99).step_by(2)).await;
    let done = user.finalize(&id).await.expect(200).json();
    assert_eq!(done["file"]["crc64nvme"], crc64nvme(&file));
    let content = user.get(&format!("/files/{}/content", done["file"]["file_id"].as_str().unwrap())).await;
    assert!(content.bytes == file);
}

#[tokio::test]
async fn a_session_that_has_ended_accepts_no_parts() {
    let app = TestApp::new().await;
    let user = app.user("ann").await;
    let done = user.upload(b"0123456789").await;
    let aborted = user.create_id(10).await;
    user.delete(&format!("/uploads/sessions/{aborted}")).await.expect(204);
    for id in [done["session_id"].as_str().unwrap(), &aborted] {
        let answer = user.put(id, 1, "0123456789").await;
        assert_eq!(answer.problem(), (409, "SESSION_CLOSED".to_owned()));
    }
}

#[tokio::test]
async fn the_server_checks_the_declared_digest_of_a_replay_too() {
    let app = TestApp::new().await;
    let user = app.user("ann").await;
    let id = user.create_id(25).await;
    user.put(&id, 1, "0123456789").await.expect(201);
    let answer = put_with(&user, &id, 1, &[("content-digest", RIGHT)], "9876543210".into()).await;
    assert_eq!(answer.problem(), (400, "CHECKSUM_MISMATCH".to_owned()));
}

#[tokio::test]
async fn a_client_can_send_a_part_again_after_its_body_ended_early() {
    let app = TestApp::new().await;
    let user = app.user("ann").await;
    let id = user.create_id(25).await;
    let cut = vec![Ok(Bytes::from_static(b"01234")), Err(std::io::Error::other("cut"))];
    let answer = put_with(&user, &id, 1, &[], Body::from_stream(stream::iter(cut))).await;
    assert_eq!(answer.problem(), (503, "UNAVAILABLE".to_owned()));
    assert_eq!(answer.json()["retryable"], true);
    user.put(&id, 1, "0123456789").await.expect(201);
}

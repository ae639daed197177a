//! The status of a session.

use axum::body::Body;
use serde_json::json;

use crate::support::{TestApp, file_bytes};

#[tokio::test]
async fn received_and_missing_parts_are_compact_ranges() {
    let app = TestApp::new().await;
    let user = app.user("ann").await;
    let file = file_bytes(1_000);
    let id = user.create_id(file.len()).await;
    let numbers = (1..=50).chain([52]).chain(55..=100);
    user.put_parts(&id, &file, numbers.rev()).await;
    insta::assert_json_snapshot!(user.status(&id).await, {
        ".session_id" => "[id]", ".file.file_id" => "[id]",
        ".created_at" => "[time]", ".updated_at" => "[time]", ".expires_at" => "[time]",
    });
}

#[tokio::test]
async fn a_status_read_is_one_statement_for_any_number_of_parts() {
    let app = TestApp::new().await;
    let user = app.user("ann").await;
    let file = file_bytes(5_000);
    let id = user.create_id(file.len()).await;
    let path = format!("/uploads/sessions/{id}");
    let (none, _) = app.statements(user.get(&path)).await;
    user.put_parts(&id, &file, (1..=500).step_by(2)).await;
    let (app, user) = app.restarted_with(user).await;
    let (many, answer) = app.statements(user.get(&path)).await;
    assert_eq!((none, many), (1, 1));
    assert_eq!(answer.json()["completed_parts"], 250);
}

#[tokio::test]
async fn an_unchanged_session_is_answered_with_304() {
    let app = TestApp::new().await;
    let user = app.user("ann").await;
    let id = user.create_id(25).await;
    let path = format!("/uploads/sessions/{id}");
    let first = user.get(&path).await.expect(200);
    let etag = first.header("etag").to_owned();
    assert_eq!(etag, format!("\"{}\"", first.json()["version"]));
    assert_eq!(first.header("cache-control"), "private, no-cache");

    let ask = || user.send(user.request("GET", &path).header("if-none-match", &etag).body(Body::empty()).unwrap());
    let unchanged = ask().await.expect(304);
    assert_eq!((unchanged.header("etag"), unchanged.bytes.len()), (etag.as_str(), 0));
    user.put(&id, 1, "0123456789").await.expect(201);
    let changed = ask().await.expect(200);
    assert_ne!(changed.header("etag"), etag);
}

#[tokio::test]
async fn head_answers_like_get_without_the_body() {
    let app = TestApp::new().await;
    let user = app.user("ann").await;
    let id = user.create_id(25).await;
    let path = format!("/uploads/sessions/{id}");
    let (get, head) =
        (user.get(&path).await, user.send(user.request("HEAD", &path).body(Body::empty()).unwrap()).await);
    assert_eq!(head.status, 200);
    assert_eq!(head.header("etag"), get.header("etag"));
    assert_eq!(head.header("content-length"), get.bytes.len().to_string());
    assert!(head.bytes.is_empty());
}

#[tokio::test]
async fn every_change_increases_the_version_by_one() {
    let app = TestApp::new().await;
    let user = app.user("ann").await;
    let id = user.create_id(30).await;
    assert_eq!(user.status(&id).await["version"], 1);
    for number in [3, 1] {
        let receipt = user.put(&id, number, "0123456789").await.expect(201).json();
        assert_eq!(receipt["version"], user.status(&id).await["version"]);
    }
    user.put(&id, 1, "0123456789").await.expect(200);
    assert_eq!(user.status(&id).await["version"], 3, "a replay changes nothing");
}

#[tokio::test]
async fn parts_are_listed_with_their_digests_page_by_page() {
    let app = TestApp::new().await;
    let user = app.user("ann").await;
    let file = file_bytes(45);
    let id = user.create_id(file.len()).await;
    user.put_parts(&id, &file, [5, 1, 3]).await;
    let path = format!("/uploads/sessions/{id}/parts");

    let first = user.get(&format!("{path}?limit=2")).await.expect(200).json();
    let numbers: Vec<_> = first["parts"].as_array().unwrap().iter().map(|part| part["part_number"].clone()).collect();
    assert_eq!((json!(numbers), &first["next"]), (json!([1, 3]), &json!(3)));
    let rest = user.get(&format!("{path}?limit=2&after=3")).await.expect(200).json();
    assert_eq!((rest["parts"].as_array().unwrap().len(), &rest["next"]), (1, &json!(null)));

    let last = &rest["parts"][0];
    assert_eq!((&last["offset_bytes"], &last["size_bytes"]), (&json!(40), &json!(5)));
    assert_eq!(last["sha256"], crate::support::sha256_hex(&file[40..]));
    assert_eq!(*last, user.get(&format!("{path}/5")).await.expect(200).json());
    for missing in ["2", "6", "0", "99999999999"] {
        assert_eq!(user.get(&format!("{path}/{missing}")).await.problem(), (404, "NOT_FOUND".to_owned()), "{missing}");
    }
    assert_eq!(user.get(&format!("{path}?limit=0")).await.problem().0, 400);
}

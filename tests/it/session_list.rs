//! Finding sessions again.

use serde_json::{Value, json};

use crate::support::{TestApp, TestUser};

async fn page(user: &TestUser, query: &str) -> (Vec<Value>, Value) {
    let body = user.get(&format!("/uploads/sessions{query}")).await.expect(200).json();
    let ids = body["sessions"].as_array().unwrap().iter().map(|session| session["session_id"].clone()).collect();
    (ids, body["next"].clone())
}

#[tokio::test]
async fn sessions_are_listed_newest_first_by_cursor() {
    let app = TestApp::new().await;
    let user = app.user("ann").await;
    let mut ids = Vec::new();
    for _ in 0..5 {
        ids.insert(0, json!(user.create_id(5).await));
    }
    assert_eq!(page(&user, "").await, (ids.clone(), json!(null)));
    let (first, next) = page(&user, "?limit=2").await;
    assert_eq!((first.as_slice(), &next), (&ids[..2], &ids[1]));
    let (second, next) = page(&user, &format!("?limit=2&after={}", next.as_str().unwrap())).await;
    assert_eq!(second, ids[2..4]);
    let (last, next) = page(&user, &format!("?limit=2&after={}", next.as_str().unwrap())).await;
    assert_eq!((last.as_slice(), next), (&ids[4..], json!(null)));
}

#[tokio::test]
async fn the_list_can_be_narrowed_to_a_status() {
    let app = TestApp::new().await;
    let user = app.user("ann").await;
    let (init, begun) = (user.create_id(5).await, user.create_id(25).await);
    user.put(&begun, 1, "0123456789").await.expect(201);
    assert_eq!(page(&user, "?status=INIT").await.0, [json!(init)]);
    assert_eq!(page(&user, "?status=IN_PROGRESS").await.0, [json!(begun)]);
    assert_eq!(page(&user, "?status=COMPLETE").await.0, [json!(null); 0]);
}

#[tokio::test]
async fn a_list_has_the_same_bodies_as_the_status() {
    let app = TestApp::new().await;
    let user = app.user("ann").await;
    let id = user.create_id(25).await;
    let (statements, list) = app.statements(user.get("/uploads/sessions")).await;
    assert_eq!(statements, 1);
    assert_eq!(list.json()["sessions"][0], user.status(&id).await);
}

#[tokio::test]
async fn bad_parameters_are_refused() {
    let app = TestApp::new().await;
    let user = app.user("ann").await;
    for query in ["?status=DONE", "?limit=0", "?limit=x", "?limit=-1", "?after=x", "?page=2"] {
        let answer = user.get(&format!("/uploads/sessions{query}")).await;
        assert_eq!(answer.problem(), (400, "INVALID_INPUT".to_owned()), "{query}");
    }
}

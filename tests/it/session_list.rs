//! Listing sessions.

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
async fn the_list_can_be_filtered_by_status() {
    let app = TestApp::new().await;
    let user = app.user("ann").await;
    let (init, begun) = (user.create_id(5).await, user.create_id(25).await);
    user.put(&begun, 1, "0123456789").await.expect(201);
    assert_eq!(page(&user, "?status=INIT").await.0, [json!(init)]);
    assert_eq!(page(&user, "?status=IN_PROGRESS").await.0, [json!(begun)]);
    assert_eq!(page(&user, "?status=COMPLETE").await.0, [json!(null); 0]);
}

#[tokio::test]
async fn the_list_can_be_limited_to_open_or_ended_sessions_in_both_protocols() {
    let app = TestApp::new().await;
    let user = app.user("ann").await;
    let (aborted, init, begun) = (user.create_id(5).await, user.create_id(5).await, user.create_id(25).await);
    user.delete(&format!("/uploads/sessions/{aborted}")).await.expect(204);
    user.put(&begun, 1, "0123456789").await.expect(201);
    let complete = user.upload(b"0123456789").await["session_id"].take();
    for (filter, expected) in [
        ("open=true", vec![json!(begun), json!(init)]),
        ("open=false", vec![complete.clone(), json!(aborted)]),
        ("open=true&status=INIT", vec![json!(init)]),
        ("open=false&status=INIT", vec![]),
        ("open=true&status=COMPLETE", vec![]),
        ("open=false&status=COMPLETE", vec![complete.clone()]),
    ] {
        assert_eq!(page(&user, &format!("?{filter}")).await.0, expected, "{filter}");
        let arguments = filter.replace('=', ": ").replace('&', ", ");
        let query = format!("{{ uploadSessions({arguments}) {{ totalCount nodes {{ id }} }} }}");
        let list = user.data(&query, json!({})).await["uploadSessions"].take();
        let ids: Vec<_> = list["nodes"].as_array().unwrap().iter().map(|node| node["id"].clone()).collect();
        assert_eq!((ids, list["totalCount"].as_u64()), (expected.clone(), Some(expected.len() as u64)), "{filter}");
    }
}

#[tokio::test]
async fn the_whole_list_is_counted_only_if_the_query_selects_it() {
    let app = TestApp::new().await;
    let (user, other) = (app.user("ann").await, app.user("bob").await);
    create(&other, "a.bin", 5).await;
    for name in ["a.bin", "a.bin", "b.bin"] {
        create(&user, name, 5).await;
    }
    for list in ["uploadSessions", "uploadFiles"] {
        for (selected, expected) in [("nodes { id }", 1), ("totalCount", 2)] {
            let query = format!("{{ {list}(first: 1) {{ {selected} }} }}");
            let (statements, _) = app.statements(user.data(&query, json!({}))).await;
            assert_eq!(statements, expected, "{query}");
        }
        let query = format!(
            "{{ {list}(first: 1, originalFilename: \"a.bin\") {{ totalCount edges {{ cursor }} pageInfo {{ hasNextPage }} }} }}"
        );
        let found = user.data(&query, json!({})).await[list].take();
        assert_eq!((&found["totalCount"], &found["pageInfo"]["hasNextPage"]), (&json!(2), &json!(true)));
        let after = &found["edges"][0]["cursor"];
        let query = format!("{{ {list}(after: {after}) {{ totalCount nodes {{ id }} }} }}");
        assert_eq!(user.data(&query, json!({})).await[list]["totalCount"], 3, "a cursor is no filter");
    }
}

/// Creates a session. Returns its id.
async fn create(user: &TestUser, name: &str, size: u64) -> Value {
    let body = json!({ "original_filename": name, "total_size_bytes": size });
    user.post("/uploads/sessions", body).await.expect(201).json()["session_id"].take()
}

#[tokio::test]
async fn the_list_can_be_filtered_by_name_and_size() {
    let app = TestApp::new().await;
    let (user, other) = (app.user("ann").await, app.user("bob").await);
    create(&other, "a b.bin", 5).await;
    let old = create(&user, "a b.bin", 5).await;
    let larger = create(&user, "a b.bin", 6).await;
    create(&user, "A b.bin", 7).await;
    let new = create(&user, "a b.bin", 5).await;
    let both = "?original_filename=a%20b.bin&total_size_bytes=5";
    assert_eq!(page(&user, both).await.0, [new.clone(), old.clone()]);
    assert_eq!(page(&user, "?original_filename=a%20b.bin").await.0, [new.clone(), larger.clone(), old.clone()]);
    assert_eq!(page(&user, "?total_size_bytes=6").await.0, [larger]);
    assert_eq!(page(&user, "?original_filename=a").await.0, [json!(null); 0]);
    assert_eq!(page(&user, &format!("{both}&status=COMPLETE")).await.0, [json!(null); 0]);

    let (first, next) = page(&user, &format!("{both}&limit=1")).await;
    assert_eq!((first.as_slice(), &next), ([new.clone()].as_slice(), &new));
    let last = page(&user, &format!("{both}&limit=1&after={}", next.as_str().unwrap())).await;
    assert_eq!(last, (vec![old], json!(null)));
}

#[tokio::test]
async fn a_name_is_found_in_any_unicode_normal_form() {
    let app = TestApp::new().await;
    let user = app.user("ann").await;
    let (composed, decomposed) = (create(&user, "gro\u{fc}.bin", 5).await, create(&user, "grou\u{308}.bin", 5).await);
    for name in ["gro%C3%BC.bin", "grou%CC%88.bin"] {
        let found = page(&user, &format!("?original_filename={name}&total_size_bytes=5")).await.0;
        assert_eq!(found, [decomposed.clone(), composed.clone()], "{name}");
    }
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
async fn invalid_parameters_are_refused() {
    let app = TestApp::new().await;
    let user = app.user("ann").await;
    for query in [
        "?status=DONE",
        "?open=maybe",
        "?limit=0",
        "?limit=x",
        "?limit=-1",
        "?after=x",
        "?page=2",
        "?original_filename=",
        "?original_filename=%00",
        "?total_size_bytes=-1",
        "?total_size_bytes=x",
    ] {
        let answer = user.get(&format!("/uploads/sessions{query}")).await;
        assert_eq!(answer.problem(), (400, "INVALID_INPUT".to_owned()), "{query}");
    }
}

//! Authentication, and the separation of owners.

use chrono::TimeDelta;
use serde_json::json;

use crate::support::TestApp;

const PATHS: [(&str, &str); 10] = [
    ("GET", "/uploads/limits"),
    ("POST", "/uploads/sessions"),
    ("GET", "/uploads/sessions"),
    ("GET", "/uploads/sessions/x"),
    ("DELETE", "/uploads/sessions/x"),
    ("PUT", "/uploads/sessions/x/parts/1"),
    ("GET", "/uploads/sessions/x/parts/1"),
    ("POST", "/uploads/sessions/x/finalize"),
    ("GET", "/files/x"),
    ("GET", "/files/x/content"),
];

#[tokio::test]
async fn every_route_but_health_needs_a_token() {
    let app = TestApp::new().await;
    let mut wrong = app.anonymous();
    for token in ["", "pw_wrong"] {
        wrong.token = token.to_owned();
        for (method, path) in PATHS {
            let answer = wrong.send(wrong.request(method, path).body("".into()).unwrap()).await;
            assert_eq!(answer.problem(), (401, "UNAUTHENTICATED".to_owned()), "{method} {path}");
            assert_eq!(answer.header("www-authenticate"), "Bearer");
        }
        let answer = wrong.post("/graphql", json!({ "query": "{ __typename }" })).await;
        assert_eq!((answer.status.as_u16(), answer.header("www-authenticate")), (401, "Bearer"));
        assert_eq!(answer.json()["errors"][0]["extensions"]["code"], "UNAUTHENTICATED");
    }
    for path in ["/health", "/ready", "/metrics"] {
        app.anonymous().get(path).await.expect(200);
    }
}

#[tokio::test]
async fn the_case_of_the_scheme_does_not_matter() {
    let app = TestApp::new().await;
    let user = app.user("ann").await;
    for (header, status) in [("bearer", 200), ("BEARER", 200), ("Basic", 401)] {
        let request = app.anonymous().request("GET", "/uploads/sessions");
        let request = request.header("authorization", format!("{header} {}", user.token));
        assert_eq!(user.send(request.body("".into()).unwrap()).await.status.as_u16(), status, "{header}");
    }
}

#[tokio::test]
async fn an_expired_or_revoked_token_is_not_valid() {
    let app = TestApp::new().await;
    let created = app.service.create_token("ann", "short", Some(TimeDelta::hours(1))).await.unwrap();
    let mut user = app.anonymous();
    user.token = created.token.reveal().to_owned();
    user.get("/uploads/sessions").await.expect(200);
    app.advance(TimeDelta::hours(1));
    user.get("/uploads/sessions").await.expect(401);

    let created = app.service.create_token("ann", "revoked", None).await.unwrap();
    user.token = created.token.reveal().to_owned();
    user.get("/uploads/sessions").await.expect(200);
    app.service.revoke_token(created.id).await.unwrap();
    user.get("/uploads/sessions").await.expect(401);
    assert_eq!(app.service.revoke_token(created.id).await.unwrap_err().code().as_str(), "NOT_FOUND");
}

#[tokio::test]
async fn a_token_that_another_process_has_revoked_works_for_5_seconds_at_most() {
    let app = TestApp::new().await;
    let user = app.user("ann").await;
    let (first, _) = app.statements(user.get("/uploads/sessions")).await;
    let (second, _) = app.statements(user.get("/uploads/sessions")).await;
    assert_eq!((first, second), (2, 1), "the first request looks up the token; both read the list");

    let token = app.service.tokens().await.unwrap()[0].id;
    app.beside().await.service.revoke_token(token).await.unwrap();
    app.advance(TimeDelta::seconds(5));
    user.get("/uploads/sessions").await.expect(401);
}

#[tokio::test]
async fn the_server_stores_only_a_tokens_hash_and_the_sweep_records_its_use() {
    let app = TestApp::on_disk().await;
    let user = app.user("ann").await;
    user.get("/uploads/sessions").await.expect(200);
    assert_eq!(app.service.tokens().await.unwrap()[0].last_used_at, None, "a read writes nothing");
    app.service.sweep().await;
    assert!(app.service.tokens().await.unwrap()[0].last_used_at.is_some());

    let secret = user.token.trim_start_matches("pw_").as_bytes();
    for entry in app.folder().read_dir().unwrap().map(Result::unwrap).filter(|entry| entry.path().is_file()) {
        let bytes = std::fs::read(entry.path()).unwrap();
        assert!(!bytes.windows(secret.len()).any(|window| window == secret), "{:?}", entry.path());
    }
}

#[tokio::test]
async fn sessions_and_files_of_another_owner_are_not_found() {
    let app = TestApp::new().await;
    let (ann, bob) = (app.user("ann").await, app.user("bob").await);
    let id = ann.create_id(25).await;
    ann.put(&id, 1, "0123456789").await.expect(201);
    let stored = ann.upload(b"0123456789").await;
    let file = stored["file"]["file_id"].as_str().unwrap();

    let unknown = "01890000-0000-7000-8000-000000000000";
    for target in [id.as_str(), unknown, "nonsense", "%ff", &id.replace('-', "")] {
        let session = format!("/uploads/sessions/{target}");
        for answer in [
            bob.get(&session).await,
            bob.delete(&session).await,
            bob.put(target, 1, "0123456789").await,
            bob.get(&format!("{session}/parts/1")).await,
            bob.get(&format!("{session}/parts")).await,
            bob.finalize(target).await,
            bob.get(&format!("/files/{target}")).await,
        ] {
            assert_eq!(answer.problem(), (404, "NOT_FOUND".to_owned()), "{target}");
        }
        let query = "query($id: ID!) { uploadSession(id: $id) { id } node(id: $id) { id } }";
        let data = bob.data(query, json!({ "id": target })).await;
        assert_eq!(data, json!({ "uploadSession": null, "node": null }), "{target}");
    }
    for path in [format!("/files/{file}"), format!("/files/{file}/content")] {
        assert_eq!(bob.get(&path).await.problem(), (404, "NOT_FOUND".to_owned()));
        ann.get(&path).await.expect(200);
    }
    assert_eq!(bob.get("/uploads/sessions").await.json()["sessions"], json!([]));
    assert_eq!(ann.status(&id).await["received_parts"], json!(["1"]), "bob changed nothing");
}

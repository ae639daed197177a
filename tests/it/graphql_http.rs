//! GraphQL over HTTP: methods, media types, statuses. `.ci/run` runs the specification's own audits.

use axum::body::Body;
use serde_json::{Value, json};

use crate::support::{Answer, TestApp, TestUser};

async fn post(user: &TestUser, headers: &[(&str, &str)], body: String) -> Answer {
    let mut request = user.request("POST", "/graphql");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    user.send(request.body(Body::from(body)).unwrap()).await
}

fn code(answer: &Answer) -> Value {
    answer.json()["errors"][0]["extensions"]["code"].clone()
}

#[tokio::test]
async fn a_malformed_request_is_refused_with_a_code() {
    let app = TestApp::new().await;
    let user = app.user("ann").await;
    let query = r#"{"query":"{__typename}"}"#;
    for (content_type, body, status, expected) in [
        ("text/plain", query.to_owned(), 415, "UNSUPPORTED_MEDIA_TYPE"),
        ("text/plain", String::new(), 415, "UNSUPPORTED_MEDIA_TYPE"),
        ("text/plain", "x".repeat(300_000), 415, "UNSUPPORTED_MEDIA_TYPE"),
        ("application/json", String::new(), 400, "INVALID_INPUT"),
        ("application/x-www-form-urlencoded", "query={__typename}".to_owned(), 415, "UNSUPPORTED_MEDIA_TYPE"),
        ("multipart/form-data; boundary=x", "--x--".to_owned(), 415, "UNSUPPORTED_MEDIA_TYPE"),
        ("application/json", "{".to_owned(), 400, "INVALID_INPUT"),
        ("application/json", "[]".to_owned(), 400, "INVALID_INPUT"),
        ("application/json", format!("[{query}]"), 400, "INVALID_INPUT"),
        ("application/json", r#"{"query":1}"#.to_owned(), 400, "INVALID_INPUT"),
        ("application/json", r#"{"query":"{__typename}","variables":[]}"#.to_owned(), 400, "INVALID_INPUT"),
        ("application/json", format!("{{\"query\":\"{{__typename}}{}\"}}", " ".repeat(300_000)), 413, "TOO_LARGE"),
        ("application/json", format!("{{\"query\":\"{{__typename}}{}\"}}", " ".repeat(70_000)), 200, "TOO_LARGE"),
    ] {
        let answer = post(&user, &[("content-type", content_type)], body).await.expect(status);
        assert_eq!(code(&answer), expected);
        assert_eq!(answer.header("accept"), if status == 415 { "application/json" } else { "" });
    }
}

#[tokio::test]
async fn the_answer_has_the_accepted_media_type_and_its_status() {
    let app = TestApp::new().await;
    let user = app.user("ann").await;
    for (accept, content_type, invalid) in [
        ("application/graphql-response+json", "application/graphql-response+json; charset=utf-8", 400),
        ("application/json", "application/json; charset=utf-8", 200),
        ("*/*", "application/json; charset=utf-8", 200),
    ] {
        let headers = [("content-type", "application/json"), ("accept", accept)];
        let good = post(&user, &headers, r#"{"query":"{ __typename }"}"#.to_owned()).await.expect(200);
        assert_eq!(
            (good.header("content-type"), &good.json()),
            (content_type, &json!({ "data": { "__typename": "Query" } }))
        );
        let bad = post(&user, &headers, r#"{"query":"{ nothing }"}"#.to_owned()).await.expect(invalid);
        assert_eq!((bad.header("content-type"), bad.json().get("data")), (content_type, None));
    }
}

#[tokio::test]
async fn queries_can_be_sent_by_get_and_mutations_cannot() {
    let app = TestApp::new().await;
    let user = app.user("ann").await;
    let id = user.create_id(5).await;
    let query = "query=query%20A($id:ID!){uploadSession(id:$id){id}}%20mutation%20B{__typename}";
    let answer = user.get(&format!("/graphql?{query}&operationName=A&variables={{%22id%22:%22{id}%22}}")).await;
    assert_eq!(answer.expect(200).json()["data"]["uploadSession"]["id"], id);
    for query in [
        format!("{query}&operationName=B"),
        format!("query=mutation{{abortUploadSession(input:{{id:%22{id}%22}}){{userErrors{{code}}}}}}"),
    ] {
        let answer = user.get(&format!("/graphql?{query}")).await.expect(405);
        assert_eq!((answer.header("allow"), code(&answer)), ("POST", json!("METHOD_NOT_ALLOWED")));
    }
    assert_eq!(user.status(&id).await["status"], "INIT");
    user.get("/graphql?query={__typename}&variables=[").await.expect(400);
    user.get("/graphql").await.expect(400);
}

#[tokio::test]
async fn a_cross_site_request_from_an_untrusted_page_is_refused() {
    let app = TestApp::with(|config| config.server.cors_origins = "https://app.example.org".to_owned()).await;
    let user = app.user("ann").await;
    let query = r#"{"query":"{ __typename }"}"#;
    for (header, status) in [
        (("origin", "https://evil.example.org"), 403),
        (("sec-fetch-site", "cross-site"), 403),
        (("origin", "https://app.example.org"), 200),
        (("sec-fetch-site", "same-origin"), 200),
    ] {
        let headers = [("content-type", "application/json"), ("host", "partway.example.org"), header];
        let answer = post(&user, &headers, query.to_owned()).await;
        assert_eq!(answer.status.as_u16(), status, "{header:?}");
        if status == 403 {
            assert_eq!(answer.problem().1, "FORBIDDEN");
        }
    }
}

#[tokio::test]
async fn only_pages_of_the_origins_in_the_settings_may_read_answers() {
    let origin = "https://app.example.org";
    let preflight = async |app: &TestApp| {
        let user = app.anonymous();
        let request = user.request("OPTIONS", "/graphql").header("origin", origin);
        let request = request.header("access-control-request-method", "POST");
        let request = request.header("access-control-request-headers", "authorization");
        user.send(request.body(Body::empty()).unwrap()).await
    };
    let closed = preflight(&TestApp::new().await).await;
    assert_eq!(closed.header("access-control-allow-origin"), "");
    let open = preflight(&TestApp::with(|config| config.server.cors_origins = origin.to_owned()).await).await;
    assert_eq!(open.header("access-control-allow-origin"), origin);
    assert!(open.header("access-control-allow-headers").contains("authorization"));
}

#[tokio::test]
async fn a_head_request_executes_no_mutation() {
    let app = TestApp::new().await;
    let user = app.user("ann").await;
    let id = user.create_id(5).await;
    let mutation = format!("mutation{{abortUploadSession(input:{{id:\"{id}\"}}){{userErrors{{code}}}}}}");
    let url = reqwest::Url::parse_with_params("http://x/graphql", [("query", &mutation)]).unwrap();
    let in_query = format!("{}?{}", url.path(), url.query().unwrap());
    for (path, status) in [("/graphql", 400), (in_query.as_str(), 405)] {
        let request = user.request("HEAD", path).header("content-type", "application/json");
        let body = json!({ "query": mutation }).to_string();
        user.send(request.body(Body::from(body)).unwrap()).await.expect(status);
    }
    assert_eq!(user.status(&id).await["status"], "INIT");
}

#[tokio::test]
async fn a_mutation_by_get_is_refused_with_and_without_a_name() {
    let app = TestApp::new().await;
    let user = app.user("ann").await;
    let mutation = "createUploadSession(input:{originalFilename:\"a\",totalSizeBytes:\"1\"}){session{id}}";
    for query in [format!("mutation{{{mutation}}}"), format!("mutation M{{{mutation}}}")] {
        let url = reqwest::Url::parse_with_params("http://x/graphql", [("query", &query)]).unwrap();
        let answer = user.get(&format!("{}?{}", url.path(), url.query().unwrap())).await;
        assert_eq!((answer.status.as_u16(), answer.header("allow")), (405, "POST"), "{query}");
    }
    assert_eq!(user.get("/uploads/sessions").await.json()["sessions"], json!([]), "no session exists");
}

/// The server does not validate a document from its cache again, so its cache must not apply to variables that make the
/// document invalid.
#[tokio::test]
async fn a_cached_document_is_refused_for_the_same_variables_as_a_new_one() {
    let app = TestApp::new().await;
    let user = app.user("ann").await;
    let id = "01890000-0000-7000-8000-000000000000";
    let queries = [
        ("query Q($id: ID!) { uploadSession(id: $id) { id } }", json!({ "id": id })),
        (
            "query Q($id: ID!, $n: Int) { uploadSession(id: $id) { parts(first: $n) { nodes { sha256 } } } }",
            json!({ "id": id }),
        ),
        ("query Q($ids: [ID!]!) { nodes(ids: $ids) { id } }", json!({ "ids": [id] })),
        (
            "query Q($yes: Boolean!) { uploadSessions { nodes { id status @include(if: $yes) } } }",
            json!({ "yes": true }),
        ),
        ("query Q($s: UploadSessionStatus) { uploadSessions(status: $s) { nodes { id } } }", json!({ "s": "INIT" })),
    ];
    for (query, valid) in queries {
        for _ in 0..3 {
            let answer = user.graphql(query, valid.clone()).await;
            assert_eq!(answer["errors"], Value::Null, "{query}: {answer}");
        }
        let values =
            [json!(null), json!("x"), json!(7), json!(true), json!([id]), json!({ "a": 1 }), json!(vec![id; 200])];
        let names = ["id", "n", "ids", "yes", "s", "unknown"];
        let changed = names.iter().flat_map(|name| values.iter().map(move |value| (name, value)));
        let variables = changed.map(|(name, value)| {
            let mut variables = valid.clone();
            variables[name] = value.clone();
            variables
        });
        for (n, variables) in variables.chain([json!({})]).enumerate() {
            // Spaces at the end make it a new document, which the cache does not have.
            let new = format!("{query}{}", " ".repeat(n + 1));
            let (cached, new) =
                (user.graphql(query, variables.clone()).await, user.graphql(&new, variables.clone()).await);
            assert_eq!(cached, new, "{query} with {variables}");
        }
    }
}

/// Clients that poll pay for every byte.
#[tokio::test]
async fn the_answer_to_a_status_query_has_at_most_320_bytes() {
    let app = TestApp::new().await;
    let user = app.user("ann").await;
    let file = crate::support::file_bytes(9_000);
    let id = user.create_id(file.len()).await;
    user.put_parts(&id, &file, 1..=20).await;
    let query =
        "query($id: ID!) { uploadSession(id: $id) { status totalParts completedParts receivedParts { first last } } }";
    let answer = user.post("/graphql", json!({ "query": query, "variables": { "id": id } })).await.expect(200);
    assert_eq!(answer.json()["data"]["uploadSession"]["receivedParts"], json!([{ "first": 1, "last": 20 }]));
    let headers: usize = answer.headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 4).sum();
    // The bytes that hyper adds.
    let line = "HTTP/1.1 200 OK\r\n\r\n".len() + "date: Tue, 24 Nov 2026 03:33:10 GMT\r\n".len();
    let length = if answer.headers.contains_key("content-length") { 0 } else { "content-length: 134\r\n".len() };
    let total = headers + line + length + answer.bytes.len();
    assert!(total <= 320, "{total} bytes: {:?}", answer.headers);
}

fn subscription(user: &TestUser, id: &str) -> axum::http::Request<Body> {
    let query = format!("subscription {{ uploadSession(id: \"{id}\") {{ version }} }}");
    let request = user.request("POST", "/graphql").header("content-type", "application/json");
    request.header("accept", "text/event-stream").body(Body::from(json!({ "query": query }).to_string())).unwrap()
}

#[tokio::test]
async fn only_the_stream_of_an_ended_session_has_a_complete_event() {
    let app = TestApp::new().await;
    let user = app.user("ann").await;
    let id = user.create_id(5).await;
    user.delete(&format!("/uploads/sessions/{id}")).await.expect(204);
    let ended = user.send(subscription(&user, &id)).await.expect(200);
    assert_eq!(ended.header("x-accel-buffering"), "no");
    assert!(ended.text().contains("event: next") && ended.text().contains("event: complete"), "{}", ended.text());

    let open = user.create_id(5).await;
    app.shutdown.stop();
    let cut = user.send(subscription(&user, &open)).await.expect(200);
    assert!(!cut.text().contains("event: complete"), "{}", cut.text());
}

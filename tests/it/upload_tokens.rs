//! Tokens for one upload: what every kind of caller may do.

use std::collections::BTreeSet;

use axum::body::Body;
use chrono::TimeDelta;
use http_body_util::BodyExt;
use serde_json::{Value, json};
use tower::ServiceExt;

use crate::support::{Answer, TestApp, TestUser, file_bytes};

/// The callers of the table, in its order.
const CALLERS: [&str; 5] = ["nobody", "another owner", "token of another upload", "token of this upload", "owner"];

/// Method, path with `{id}` and `{file}`, body, and the status for each caller.
type Row = (&'static str, &'static str, Option<&'static str>, [u16; 5]);

/// Every route. A row that changes something leaves what the later rows need.
const ROUTES: &[Row] = &[
    ("GET", "/health", None, [200; 5]),
    ("GET", "/ready", None, [200; 5]),
    ("GET", "/metrics", None, [200; 5]),
    ("GET", "/openapi.json", None, [200; 5]),
    ("GET", "/uploads/limits", None, [401, 200, 200, 200, 200]),
    ("POST", "/uploads/sessions", Some(r#"{"original_filename":"b","total_size_bytes":1}"#), [401, 201, 403, 403, 201]),
    ("GET", "/uploads/sessions", None, [401, 200, 403, 403, 200]),
    ("GET", "/uploads/sessions/{id}", None, [401, 404, 404, 200, 200]),
    ("PUT", "/uploads/sessions/{id}/parts/1", Some("0123456789"), [401, 404, 404, 201, 200]),
    ("GET", "/uploads/sessions/{id}/parts/1", None, [401, 404, 404, 200, 200]),
    ("GET", "/uploads/sessions/{id}/parts", None, [401, 404, 404, 200, 200]),
    ("PUT", "/uploads/sessions/{id}/parts", Some("0123456789"), [401, 400, 400, 400, 400]),
    ("GET", "/uploads/sessions/{id}/events", None, [401, 404, 404, 200, 200]),
    ("GET", "/uploads/events", None, [401, 200, 403, 403, 200]),
    ("POST", "/uploads/sessions/{id}/tokens", Some("{}"), [401, 404, 403, 403, 201]),
    ("POST", "/uploads/sessions/{id}/finalize", Some("{}"), [401, 404, 404, 409, 409]),
    ("GET", "/files/{file}", None, [401, 404, 404, 200, 200]),
    ("GET", "/files/{file}/content", None, [401, 404, 403, 403, 404]),
    ("POST", "/files/{file}/links", Some("{}"), [401, 404, 403, 403, 404]),
    ("POST", "/files/{file}/sha256", None, [401, 404, 403, 403, 404]),
    ("DELETE", "/files/{file}", None, [401, 404, 403, 403, 404]),
    ("GET", "/files", None, [401, 200, 403, 403, 200]),
    ("POST", "/files", Some("abc"), [401, 201, 403, 403, 201]),
    ("GET", "/events", None, [401, 200, 403, 403, 200]),
    ("GET", "/me", None, [401, 200, 403, 403, 200]),
    ("POST", "/uploads/tus", None, [401, 201, 403, 403, 201]),
    ("OPTIONS", "/uploads/tus", None, [204; 5]),
    ("HEAD", "/uploads/tus/{id}", None, [401, 404, 404, 200, 200]),
    ("GET", "/uploads/tus/{id}", None, [401, 404, 404, 404, 404]),
    ("PATCH", "/uploads/tus/{id}", Some("ABCDEFGHIJ"), [401, 404, 404, 204, 409]),
    ("HEAD", "/uploads/resumable/{id}", None, [401, 404, 404, 204, 204]),
    ("GET", "/", None, [200; 5]),
    ("GET", "/graphiql", None, [200; 5]),
    ("POST", "/graphql", Some(r#"{"query":"{ __typename }"}"#), [401, 200, 200, 200, 200]),
    // Last: these end the upload.
    ("DELETE", "/uploads/tus/{id}", None, [401, 404, 403, 403, 204]),
    ("DELETE", "/uploads/resumable/{id}", None, [401, 404, 403, 403, 204]),
    ("DELETE", "/uploads/sessions/{id}", None, [401, 404, 403, 403, 204]),
];

struct Callers {
    app: TestApp,
    users: [TestUser; 5],
    session: String,
    file: String,
}

impl Callers {
    /// An upload of 25 bytes that belongs to the last caller.
    async fn new() -> Self {
        let app = TestApp::on_disk().await;
        let (owner, other) = (app.user("ann").await, app.user("bob").await);
        let created = owner.create(25).await;
        let session = created["session_id"].as_str().unwrap().to_owned();
        let file = created["file"]["file_id"].as_str().unwrap().to_owned();
        let narrow = narrow(&owner, &session).await;
        let elsewhere = narrow_of_new(&owner).await;
        let users = [app.anonymous(), other, elsewhere, narrow, owner];
        Self { app, users, session, file }
    }

    fn path(&self, template: &str) -> String {
        template.replace("{id}", &self.session).replace("{file}", &self.file)
    }
}

/// A caller with a token for this session alone.
async fn narrow(owner: &TestUser, session: &str) -> TestUser {
    let path = format!("/uploads/sessions/{session}/tokens");
    let created = owner.post(&path, json!({})).await.expect(201).json();
    TestUser { token: created["token"].as_str().unwrap().to_owned(), ..owner.clone() }
}

async fn narrow_of_new(owner: &TestUser) -> TestUser {
    let session = owner.create_id(25).await;
    narrow(owner, &session).await
}

async fn send(user: &TestUser, method: &str, path: &str, body: Option<&str>) -> Answer {
    let mut request = user.request(method, path);
    let body = body.unwrap_or_default();
    request = match (method, path) {
        (_, "/uploads/tus") => request.header("tus-resumable", "1.0.0").header("upload-length", "5"),
        ("PATCH", _) => {
            let request = request.header("tus-resumable", "1.0.0").header("upload-offset", "10");
            request.header("content-type", "application/offset+octet-stream")
        }
        (_, path) if path.starts_with("/uploads/tus") => request.header("tus-resumable", "1.0.0"),
        (_, path) if path.starts_with("/uploads/resumable") => request.header("upload-draft-interop-version", "8"),
        ("POST", "/files") => request.header("content-type", "application/octet-stream"),
        ("POST", _) => request.header("content-type", "application/json"),
        _ => request,
    };
    let request = request.header("content-length", body.len()).body(Body::from(body.to_owned())).unwrap();
    if method == "GET" && path.ends_with("/events") && path != "/events" {
        // A stream has no end.
        let (head, body) = user.router.clone().oneshot(request).await.unwrap().into_parts();
        let bytes = if head.status == 200 { Vec::new() } else { body.collect().await.unwrap().to_bytes().into() };
        return Answer { status: head.status, headers: head.headers, bytes };
    }
    user.send(request).await
}

#[tokio::test]
async fn each_caller_may_use_the_routes_that_the_table_says() {
    let callers = Callers::new().await;
    for (method, template, body, expected) in ROUTES {
        for ((user, name), expected) in callers.users.iter().zip(CALLERS).zip(expected) {
            let answer = send(user, method, &callers.path(template), *body).await;
            assert_eq!(answer.status, *expected, "{method} {template} by {name}: {}", answer.text());
            if answer.status == 403 {
                assert_eq!(answer.problem(), (403, "FORBIDDEN".to_owned()));
            }
        }
    }
}

/// With a link to a file, every route but the file's content answers as it answers nobody.
#[tokio::test]
async fn a_link_to_a_file_opens_its_content_and_nothing_else() {
    let app = TestApp::on_disk().await;
    let owner = app.user("ann").await;
    let stored = owner.upload(b"0123456789").await;
    let (session, file) = (stored["session_id"].as_str().unwrap(), stored["file"]["file_id"].as_str().unwrap());
    let created = owner.post(&format!("/files/{file}/links"), json!({})).await.expect(201).json();
    let (_, link) = created["url"].as_str().unwrap().split_once("link=").unwrap();
    let in_header = TestUser { token: link.to_owned(), ..owner.clone() };
    let nobody = app.anonymous();
    for (method, template, body, [expected, ..]) in ROUTES {
        let path = template.replace("{id}", session).replace("{file}", file);
        let by_header = send(&in_header, method, &path, *body).await;
        assert_eq!(by_header.status, *expected, "{method} {template} with the token in the header");
        let by_upload_token = send(&nobody, method, &format!("{path}?upload_token={link}"), *body).await;
        assert_eq!(by_upload_token.status, *expected, "{method} {template} with the link as an upload token");
        let expected = if *template == "/files/{file}/content" { 200 } else { *expected };
        let by_link = send(&nobody, method, &format!("{path}?link={link}"), *body).await;
        assert_eq!(by_link.status, expected, "{method} {template} with the link");
    }
}

/// A new route needs a row.
/// A path as the table writes it.
fn in_table(path: &str) -> String {
    path.replace("/files/{id}", "/files/{file}").replace("{number}", "1")
}

#[test]
fn the_table_has_every_route() {
    let document: Value = serde_json::from_str(include_str!("../../openapi.json")).unwrap();
    let described = document["paths"].as_object().unwrap();
    let described = described.iter().flat_map(|(path, item)| {
        item.as_object().unwrap().keys().map(move |method| (method.to_uppercase(), in_table(path)))
    });
    for (method, path) in described {
        assert!(ROUTES.iter().any(|row| (row.0, row.1) == (&method, &path)), "the table lacks {method} {path}");
    }
    let sources = [
        include_str!("../../src/tus/mod.rs"),
        include_str!("../../src/rufh/mod.rs"),
        include_str!("../../src/graphql/http.rs"),
    ];
    let mut routes = BTreeSet::new();
    for source in sources {
        let source = source.split("#[cfg(test)]").next().unwrap();
        for quoted in source.split('"').skip(1).step_by(2).filter(|text| text.starts_with('/')) {
            routes.insert(in_table(quoted));
        }
    }
    assert!(routes.len() > 3, "{routes:?}");
    let in_table: BTreeSet<_> = ROUTES.iter().map(|(_, path, ..)| (*path).to_owned()).collect();
    routes.remove("/graphql/ws");
    assert_eq!(routes.difference(&in_table).collect::<Vec<_>>(), Vec::<&String>::new());
}

/// Each operation, and for each caller with a token whether the result is there. `None`: no errors and null.
#[tokio::test]
async fn each_caller_may_use_the_operations_that_the_table_says() {
    let callers = Callers::new().await;
    let (id, file) = (&callers.session, &callers.file);
    // For the subscription: without a session, it would send nothing.
    callers.users[1].create_id(1).await;
    let operations: [(String, [&str; 4]); 19] = [
        (format!("{{ r: uploadSession(id: \"{id}\") {{ status file {{ status }} }} }}"), ["null", "null", "ok", "ok"]),
        (format!("{{ r: node(id: \"{id}\") {{ id }} }}"), ["null", "null", "ok", "ok"]),
        (format!("{{ r: node(id: \"{file}\") {{ id }} }}"), ["null", "null", "ok", "ok"]),
        (format!("{{ r: nodes(ids: [\"{id}\"]) {{ id }} }}"), ["ok", "ok", "ok", "ok"]),
        ("{ r: uploadSessions { nodes { id } } }".to_owned(), ["ok", "FORBIDDEN", "FORBIDDEN", "ok"]),
        (format!("{{ r: uploadFile(id: \"{file}\") {{ status }} }}"), ["null", "null", "ok", "ok"]),
        ("{ r: uploadFiles { nodes { id } } }".to_owned(), ["ok", "FORBIDDEN", "FORBIDDEN", "ok"]),
        ("{ r: uploadLimits { maxParts } }".to_owned(), ["ok", "ok", "ok", "ok"]),
        ("{ r: viewer { owner } }".to_owned(), ["ok", "FORBIDDEN", "FORBIDDEN", "ok"]),
        ("{ r: events { nodes { id } } }".to_owned(), ["ok", "FORBIDDEN", "FORBIDDEN", "ok"]),
        (
            "mutation { r: createUploadSession(input: { originalFilename: \"b\", totalSizeBytes: 1 }) \
             { userErrors { code } } }"
                .to_owned(),
            ["ok", "FORBIDDEN", "FORBIDDEN", "ok"],
        ),
        (
            format!("mutation {{ r: finalizeUploadSession(input: {{ id: \"{id}\" }}) {{ userErrors {{ code }} }} }}"),
            ["NOT_FOUND", "NOT_FOUND", "PARTS_MISSING", "PARTS_MISSING"],
        ),
        (
            format!("mutation {{ r: createUploadToken(input: {{ id: \"{id}\" }}) {{ userErrors {{ code }} }} }}"),
            ["NOT_FOUND", "FORBIDDEN", "FORBIDDEN", "ok"],
        ),
        (
            format!("mutation {{ r: createDownloadLink(input: {{ id: \"{file}\" }}) {{ userErrors {{ code }} }} }}"),
            ["NOT_FOUND", "FORBIDDEN", "FORBIDDEN", "NOT_FOUND"],
        ),
        (
            format!("mutation {{ r: computeFileSha256(input: {{ id: \"{file}\" }}) {{ userErrors {{ code }} }} }}"),
            ["NOT_FOUND", "FORBIDDEN", "FORBIDDEN", "NOT_FOUND"],
        ),
        (
            format!("mutation {{ r: deleteFile(input: {{ id: \"{file}\" }}) {{ userErrors {{ code }} }} }}"),
            ["NOT_FOUND", "FORBIDDEN", "FORBIDDEN", "NOT_FOUND"],
        ),
        (
            format!("subscription {{ r: uploadSession(id: \"{id}\") {{ status }} }}"),
            ["NOT_FOUND", "NOT_FOUND", "ok", "ok"],
        ),
        ("subscription { r: uploadSessionChanged { status } }".to_owned(), ["ok", "FORBIDDEN", "FORBIDDEN", "ok"]),
        (
            format!("mutation {{ r: abortUploadSession(input: {{ id: \"{id}\" }}) {{ userErrors {{ code }} }} }}"),
            ["NOT_FOUND", "FORBIDDEN", "FORBIDDEN", "ok"],
        ),
    ];
    for (query, expected) in operations {
        for ((user, name), expected) in callers.users.iter().zip(CALLERS).skip(1).zip(expected) {
            let answer = match query.starts_with("subscription") {
                true => first_event(user, &query).await,
                false => user.graphql(&query, json!({})).await,
            };
            assert_eq!(outcome(&answer), expected, "{query} by {name}: {answer}");
        }
    }
}

fn outcome(answer: &Value) -> String {
    let result = &answer["data"]["r"];
    let codes = [&answer["errors"][0]["extensions"]["code"], &result["userErrors"][0]["code"]];
    match codes.into_iter().find_map(Value::as_str) {
        Some(code) => code.to_owned(),
        None if result.is_null() => "null".to_owned(),
        None => "ok".to_owned(),
    }
}

/// The first event of a subscription over server-sent events.
async fn first_event(user: &TestUser, query: &str) -> Value {
    let request = user.request("POST", "/graphql").header("content-type", "application/json");
    let request = request.header("accept", "text/event-stream").body(Body::from(json!({ "query": query }).to_string()));
    let mut body = user.router.clone().oneshot(request.unwrap()).await.unwrap().into_body();
    let mut text = String::new();
    while !text.contains("data: {") {
        let frame = crate::support::in_time(body.frame()).await.unwrap().unwrap();
        text.push_str(&String::from_utf8_lossy(&frame.into_data().unwrap()));
    }
    let data = text.lines().find_map(|line| line.strip_prefix("data: ")).unwrap();
    serde_json::from_str(data).unwrap()
}

#[tokio::test]
async fn an_upload_can_be_sent_with_its_token_alone() {
    let app = TestApp::on_disk().await;
    let owner = app.user("ann").await;
    let file = file_bytes(25);
    let session = owner.create_id(file.len()).await;
    let created = owner.post(&format!("/uploads/sessions/{session}/tokens"), json!({})).await.expect(201);
    assert_eq!(created.header("cache-control"), "no-store");
    let created = created.json();
    assert_eq!(created["upload_url"], format!("/uploads/tus/{session}"));
    assert!(created["token"].as_str().unwrap().starts_with("pu_"));
    assert_eq!(created["expires_at"], owner.status(&session).await["expires_at"]);
    let narrow = TestUser { token: created["token"].as_str().unwrap().to_owned(), ..owner.clone() };
    narrow.put_parts(&session, &file, [1, 3]).await;
    narrow.tus_patch(&session, 10, file[10..20].to_vec()).await.expect(204);
    let complete = narrow.status(&session).await;
    assert_eq!((&complete["status"], &complete["file"]["status"]), (&json!("COMPLETE"), &json!("STORED")));
    narrow.get(&format!("/files/{}", complete["file"]["file_id"].as_str().unwrap())).await.expect(200);
    let refused = owner.post(&format!("/uploads/sessions/{session}/tokens"), json!({})).await;
    assert_eq!(refused.problem(), (409, "SESSION_CLOSED".to_owned()));
}

#[tokio::test]
async fn the_token_may_be_in_the_query_of_the_status_and_of_tus_alone() {
    let callers = Callers::new().await;
    let (anyone, narrow, owner) = (callers.app.anonymous(), &callers.users[3].token, &callers.users[4].token);
    for (path, expected) in [
        ("/uploads/sessions/{id}", 200),
        ("/uploads/sessions/{id}/parts", 401),
        ("/files/{file}", 401),
        ("/uploads/limits", 401),
    ] {
        let path = callers.path(path);
        anyone.get(&format!("{path}?upload_token={narrow}")).await.expect(expected);
        anyone.get(&format!("{path}?upload_token={owner}")).await.expect(401);
        anyone.get(&format!("{path}?upload_token={narrow}&upload_token={narrow}")).await.expect(401);
    }
    let path = format!("/uploads/tus/{}?upload_token={narrow}", callers.session);
    let patch = anyone.tus("PATCH", &path).header("upload-offset", "0");
    let patch = patch.header("content-type", "application/offset+octet-stream").body(Body::from("0123456789"));
    anyone.send(patch.unwrap()).await.expect(204);
    let head = anyone.send(anyone.tus("HEAD", &path).body(Body::empty()).unwrap()).await.expect(200);
    assert_eq!(head.header("upload-offset"), "10");
    // A header goes before the query.
    let wrong = TestUser { token: "pu_wrong".to_owned(), ..anyone.clone() };
    wrong.get(&format!("/uploads/sessions/{}?upload_token={narrow}", callers.session)).await.expect(401);
}

#[tokio::test]
async fn a_token_expires_at_its_time_or_with_its_session() {
    let app = TestApp::on_disk().await;
    let owner = app.user("ann").await;
    let file = file_bytes(25);
    let session = owner.create_id(file.len()).await;
    let with_session = narrow(&owner, &session).await;
    let path = format!("/uploads/sessions/{session}/tokens");
    let created = owner.post(&path, json!({ "expires_in": "1h" })).await.expect(201).json();
    let short = TestUser { token: created["token"].as_str().unwrap().to_owned(), ..owner.clone() };
    short.get(&format!("/uploads/sessions/{session}")).await.expect(200);
    app.advance(TimeDelta::minutes(59));
    short.get(&format!("/uploads/sessions/{session}")).await.expect(200);
    app.advance(TimeDelta::minutes(2));
    short.get(&format!("/uploads/sessions/{session}")).await.expect(401);
    // Each part moves the time of the session, and so of its token.
    for number in [1, 2] {
        app.advance(TimeDelta::days(6));
        app.service.sweep().await;
        with_session.put_parts(&session, &file, [number]).await;
    }
    app.advance(TimeDelta::days(8));
    with_session.get(&format!("/uploads/sessions/{session}")).await.expect(401);
    for expires_in in ["", "0s", "-1h", "tomorrow", "1000y", "1M", "1ns"] {
        let refused = owner.post(&path, json!({ "expires_in": expires_in })).await;
        assert_eq!(refused.problem(), (400, "INVALID_INPUT".to_owned()), "{expires_in}");
        assert_eq!(refused.json()["field"], "expires_in");
    }
    let longest = owner.create_id(25).await;
    owner.post(&format!("/uploads/sessions/{longest}/tokens"), json!({ "expires_in": "100years" })).await.expect(201);
}

#[tokio::test]
async fn expired_tokens_are_removed_and_a_session_has_a_limited_number() {
    let app = TestApp::new().await;
    let owner = app.user("ann").await;
    let session = owner.create_id(25).await;
    let path = format!("/uploads/sessions/{session}/tokens");
    for _ in 0..100 {
        owner.post(&path, json!({ "expires_in": "1h" })).await.expect(201);
    }
    assert_eq!(owner.post(&path, json!({})).await.problem(), (429, "RATE_LIMITED".to_owned()));
    app.advance(TimeDelta::hours(2));
    // An expired token does not count, whether or not the sweep has removed it.
    owner.post(&path, json!({ "expires_in": "1h" })).await.expect(201);
    app.service.sweep().await;
    owner.post(&path, json!({})).await.expect(201);
}

#[tokio::test]
async fn a_page_with_a_token_for_one_upload_does_not_use_up_the_streams_of_the_owner() {
    let app = TestApp::with(|config| config.limits.max_streams_per_owner = 16).await;
    let owner = app.user("ann").await;
    let session = owner.create_id(25).await;
    let page = narrow(&owner, &session).await;
    let open = async |user: &TestUser| {
        let request = user.request("GET", &format!("/uploads/sessions/{session}/events")).body(Body::empty()).unwrap();
        tower::ServiceExt::oneshot(user.router.clone(), request).await.unwrap()
    };
    let of_page = [open(&page).await, open(&page).await];
    assert_eq!(of_page.each_ref().map(|answer| answer.status().as_u16()), [200, 200]);
    assert_eq!(open(&page).await.status().as_u16(), 429);
    assert_eq!(open(&owner).await.status().as_u16(), 200);
    drop(of_page);
    assert_eq!(open(&page).await.status().as_u16(), 200);
}

#[tokio::test]
async fn the_number_of_a_part_may_be_in_a_header() {
    let app = TestApp::on_disk().await;
    let user = app.user("ann").await;
    let session = user.create_id(25).await;
    let put = |number: &str, body: &str| {
        let request = user.request("PUT", &format!("/uploads/sessions/{session}/parts"));
        let request = request.header("part-number", number).header("content-length", body.len());
        user.send(request.body(Body::from(body.to_owned())).unwrap())
    };
    assert_eq!(put("2", "0123456789").await.expect(201).json()["part_number"], 2);
    put("2", "0123456789").await.expect(200);
    assert_eq!(put("9", "0123456789").await.problem().1, "PART_OUT_OF_RANGE");
    // A number in the path must be the same.
    for (in_header, status) in [("1", 201), ("2", 400)] {
        let request = user.request("PUT", &format!("/uploads/sessions/{session}/parts/1"));
        let request = request.header("part-number", in_header).header("content-length", 10);
        user.send(request.body(Body::from("0123456789")).unwrap()).await.expect(status);
    }
    for wrong in ["", "x", "-1", "1.0"] {
        assert_eq!(put(wrong, "0123456789").await.problem(), (400, "INVALID_INPUT".to_owned()), "{wrong}");
    }
}

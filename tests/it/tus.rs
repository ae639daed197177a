//! tus 1.0: the version, creation, status, termination and the statuses of refusals. The bytes are in `tus_bytes`.

use axum::{body::Body, http::HeaderValue};
use chrono::TimeDelta;
use serde_json::json;

use crate::support::{Answer, BYTES, FILE, TestApp, TestUser, id_of};

const UNKNOWN: &str = "01890000-0000-7000-8000-000000000000";

fn problem(status: u16, code: &str) -> (u16, String) {
    (status, code.to_owned())
}

/// Sends a `POST` with these headers and this body.
async fn post(user: &TestUser, headers: &[(&str, &str)], body: &'static str) -> Answer {
    let request = user.tus("POST", "/uploads/tus").header("host", "files.example.org");
    let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
    user.send(request.body(body.into()).unwrap()).await
}

async fn send(user: &TestUser, method: &str, id: &str) -> Answer {
    user.send(user.tus(method, &format!("/uploads/tus/{id}")).body(Body::empty()).unwrap()).await
}

async fn session_count(user: &TestUser) -> usize {
    user.get("/uploads/sessions").await.expect(200).json()["sessions"].as_array().unwrap().len()
}

#[tokio::test]
async fn every_answer_has_the_version() {
    let app = TestApp::new().await;
    let user = app.user("ann").await;
    let id = user.tus_create(25, "").await;
    let path = format!("/uploads/tus/{id}");
    let foreign = |request: axum::http::request::Builder| {
        request.header("origin", "https://evil.example.org").header("sec-fetch-site", "cross-site")
    };
    for (status, request) in [
        (200, user.tus("HEAD", &path)),
        (204, user.tus_patch_head(&id, 0)),
        (400, user.tus("POST", "/uploads/tus")),
        (401, app.anonymous().tus("POST", "/uploads/tus")),
        (401, app.anonymous().tus("HEAD", &path)),
        (403, foreign(user.tus("DELETE", &path))),
        (404, user.tus("HEAD", "/uploads/tus/nonsense")),
        (405, user.tus("PUT", &path)),
        (405, user.tus("POST", &path)),
        (405, user.tus("GET", "/uploads/tus")),
        (405, user.tus("HEAD", "/uploads/tus")),
        (409, user.tus_patch_head(&id, 7)),
        (412, user.request("POST", "/uploads/tus")),
        (413, user.tus("POST", "/uploads/tus").header("upload-length", 1_000_000)),
        (415, user.tus("PATCH", &path)),
        (204, user.tus("DELETE", &path)),
        (410, user.tus("HEAD", &path)),
    ] {
        let request = request.body(Body::empty()).unwrap();
        let name = format!("{} {}", request.method(), request.uri());
        let answer = user.send(request).await;
        assert_eq!((answer.status.as_u16(), answer.header("tus-resumable")), (status, "1.0.0"), "{name}: {answer:?}");
        if status >= 400 && !name.starts_with("HEAD") {
            assert_eq!(answer.problem().0, status);
        }
        assert_eq!(status == 405, !answer.header("allow").is_empty(), "{name}");
    }
    // Other routes do not speak tus.
    assert_eq!(user.get("/uploads/sessions").await.header("tus-resumable"), "");
}

#[tokio::test]
async fn a_change_without_the_version_is_refused() {
    let app = TestApp::new().await;
    let user = app.user("ann").await;
    let id = user.tus_create(25, "").await;
    let path = format!("/uploads/tus/{id}");
    for version in [None, Some("0.2.2"), Some("1.0.1")] {
        for (method, path) in [("POST", "/uploads/tus"), ("PATCH", path.as_str()), ("DELETE", path.as_str())] {
            let request = user.request(method, path).header("upload-length", 5).header("upload-offset", 0);
            let request =
                version.into_iter().fold(request, |request, version| request.header("tus-resumable", version));
            let answer = user.send(request.header("content-type", BYTES).body("01234".into()).unwrap()).await;
            assert_eq!(answer.problem(), problem(412, "PRECONDITION_FAILED"), "{method} {version:?}");
            assert_eq!(answer.header("tus-version"), "1.0.0");
        }
    }
    assert_eq!((session_count(&user).await, user.tus_offset(&id).await), (1, 0));
    // HEAD and GET are answered without it.
    for (method, status) in [("HEAD", 200), ("GET", 404)] {
        user.send(user.request(method, &path).body(Body::empty()).unwrap()).await.expect(status);
    }
}

#[tokio::test]
async fn a_new_upload_has_an_absolute_location_and_an_expiry() {
    for (public_url, forwarded, location) in [
        ("", None, "http://files.example.org/uploads/tus/"),
        ("", Some("https"), "https://files.example.org/uploads/tus/"),
        ("", Some("HTTPS"), "https://files.example.org/uploads/tus/"),
        // The client's own connection comes first.
        ("", Some("https, http"), "https://files.example.org/uploads/tus/"),
        ("", Some("http,https"), "http://files.example.org/uploads/tus/"),
        ("", Some("javascript"), "http://files.example.org/uploads/tus/"),
        ("https://example.org/partway", Some("http"), "https://example.org/partway/uploads/tus/"),
    ] {
        let app = TestApp::with(|config| public_url.clone_into(&mut config.server.public_url)).await;
        let user = app.user("ann").await;
        let forwarded = forwarded.map(|scheme| ("x-forwarded-proto", scheme));
        let headers: Vec<_> = [("upload-length", "25")].into_iter().chain(forwarded).collect();
        let created = post(&user, &headers, "").await.expect(201);
        assert_eq!(created.header("location"), format!("{location}{}", id_of(&created)));
        assert_eq!(created.header("upload-offset"), "", "the request had no bytes");
        let session = user.status(&id_of(&created)).await;
        assert_eq!((&session["status"], &session["total_size_bytes"]), (&json!("INIT"), &json!(25)));
        let expires = httpdate::parse_http_date(created.header("upload-expires")).unwrap();
        let expected: chrono::DateTime<chrono::Utc> = session["expires_at"].as_str().unwrap().parse().unwrap();
        assert_eq!(chrono::DateTime::<chrono::Utc>::from(expires).timestamp(), expected.timestamp());
    }
}

#[tokio::test]
async fn a_creation_that_the_server_cannot_keep_is_refused() {
    let app = TestApp::with(|config| config.limits.max_open_sessions = 1).await;
    let user = app.user("ann").await;
    for (headers, status, code) in [
        (&[][..], 400, "INVALID_INPUT"),
        (&[("upload-length", "")], 400, "INVALID_INPUT"),
        (&[("upload-length", "-1")], 400, "INVALID_INPUT"),
        (&[("upload-length", "+1")], 400, "INVALID_INPUT"),
        (&[("upload-length", "1.5")], 400, "INVALID_INPUT"),
        (&[("upload-length", "9223372036854775808")], 400, "INVALID_INPUT"),
        (&[("upload-length", "9223372036854775807")], 413, "TOO_LARGE"),
        (&[("upload-length", "100001")], 413, "TOO_LARGE"),
        (&[("upload-defer-length", "1")], 400, "INVALID_INPUT"),
        (&[("upload-length", "5"), ("upload-defer-length", "1")], 400, "INVALID_INPUT"),
        (&[("upload-length", "5"), ("upload-concat", "partial")], 400, "INVALID_INPUT"),
        (&[("upload-concat", "final;/uploads/tus/a /uploads/tus/b")], 400, "INVALID_INPUT"),
        (&[("upload-length", "5"), ("upload-metadata", "sha256 eA==")], 400, "INVALID_INPUT"),
        (&[("upload-length", "5"), ("idempotency-key", "")], 400, "INVALID_INPUT"),
    ] {
        assert_eq!(post(&user, headers, "").await.problem(), problem(status, code), "{headers:?}");
    }
    assert_eq!(session_count(&user).await, 0);
    let created = post(&user, &[("upload-length", "100000")], "").await.expect(201);
    let refused = post(&user, &[("upload-length", "5")], "").await;
    assert_eq!(refused.problem(), problem(429, "RATE_LIMITED"));
    assert_ne!(refused.header("retry-after"), "");
    assert_eq!(user.tus_offset(&id_of(&created)).await, 0);
}

#[tokio::test]
async fn an_empty_upload_is_complete_at_once() {
    let app = TestApp::new().await;
    let user = app.user("ann").await;
    let created = post(&user, &[("upload-length", "0")], "").await.expect(201);
    assert_eq!(created.header("upload-expires"), "", "a complete upload does not expire");
    let id = id_of(&created);
    assert_eq!(user.status(&id).await["status"], "COMPLETE");
    let head = user.tus_head(&id).await.expect(200);
    assert_eq!((head.header("upload-offset"), head.header("upload-length")), ("0", "0"));
    user.tus_patch(&id, 0, "").await.expect(204);
}

#[tokio::test]
async fn a_creation_with_the_same_key_finds_the_same_upload() {
    let app = TestApp::on_disk().await;
    let user = app.user("ann").await;
    let key = |length| [("upload-length", length), ("idempotency-key", "\"photo\""), ("content-type", BYTES)];
    let first = post(&user, &key("25"), "0123456").await.expect(201);
    assert_eq!(first.header("upload-offset"), "7");
    let id = id_of(&first);
    // The server neither stores nor compares the bytes of a further request, so it acknowledges none of them.
    let again = async || {
        for bytes in ["XXXXXXXXX", "0123456", ""] {
            let again = post(&user, &key("25"), bytes).await.expect(201);
            assert_eq!(again.header("location"), first.header("location"));
            assert_eq!(again.header("upload-offset"), "0", "{bytes}");
            let refused = user.tus_patch(&id, 0, "XXXXXXXXX").await;
            assert_eq!(refused.problem(), problem(409, "OFFSET_MISMATCH"), "the client asks, and goes on");
        }
        let no_bytes = [("upload-length", "25"), ("idempotency-key", "photo")];
        assert_eq!(post(&user, &no_bytes, "").await.expect(201).header("upload-offset"), "");
        for (name, value, status) in [("upload-checksum", "sha1 ***", 400), ("content-encoding", "gzip", 400)] {
            let headers = [key("25").as_slice(), &[(name, value)]].concat();
            assert_eq!(post(&user, &headers, "0123456").await.problem().0, status, "{name}");
        }
    };
    again().await;
    assert_eq!(post(&user, &key("26"), "").await.problem(), problem(422, "IDEMPOTENCY_KEY_REUSED"));
    user.tus_patch(&id, 7, &FILE[7..]).await.expect(204);
    again().await;
    assert_eq!(user.status(&id).await["file"]["crc64nvme"], crate::support::crc64nvme(FILE));

    let key = [("upload-length", "5"), ("idempotency-key", "other")];
    let ended = id_of(&post(&user, &key, "").await.expect(201));
    send(&user, "DELETE", &ended).await.expect(204);
    assert_eq!(post(&user, &key, "").await.problem(), problem(410, "SESSION_CLOSED"));
}

#[tokio::test]
async fn a_status_has_the_offset_and_the_length() {
    let app = TestApp::on_disk().await;
    let user = app.user("ann").await;
    let id = user.tus_create(25, "filename YS5iaW4=,is_draft").await;
    for (offset, bytes) in [(0, &FILE[..7]), (7, &FILE[7..12]), (12, &FILE[12..])] {
        let head = user.tus_head(&id).await.expect(200);
        assert_eq!(head.header("upload-offset"), offset.to_string());
        assert_eq!((head.header("upload-length"), head.header("cache-control")), ("25", "no-store"));
        assert_eq!(head.header("upload-metadata"), "filename YS5iaW4=,is_draft");
        let patched = user.tus_patch(&id, offset, bytes).await.expect(204);
        assert_eq!(patched.header("upload-offset"), (offset + bytes.len()).to_string());
        assert_eq!(patched.header("upload-expires").is_empty(), offset == 12, "a complete upload does not expire");
    }
    let head = user.tus_head(&id).await.expect(200);
    assert_eq!((head.header("upload-offset"), head.header("upload-expires")), ("25", ""));
}

#[tokio::test]
async fn an_upload_that_is_gone_has_no_offset() {
    let app = TestApp::on_disk().await;
    let user = app.user("ann").await;
    let expired = user.tus_create(25, "").await;
    app.advance(TimeDelta::days(8));
    app.service.sweep().await;
    let aborted = user.tus_create(25, "").await;
    send(&user, "DELETE", &aborted).await.expect(204);
    let sha256 = format!("sha256 {}", crate::support::base64("0".repeat(64)));
    let failed = user.tus_create(5, &sha256).await;
    assert_eq!(user.tus_patch(&failed, 0, "01234").await.problem(), problem(460, "CHECKSUM_MISMATCH"));
    let foreign = app.user("bob").await.tus_create(25, "").await;
    for (id, status, code) in [
        (expired.as_str(), 410, "SESSION_CLOSED"),
        (&aborted, 410, "SESSION_CLOSED"),
        (&failed, 410, "SESSION_CLOSED"),
        (&foreign, 404, "NOT_FOUND"),
        (UNKNOWN, 404, "NOT_FOUND"),
        ("nonsense", 404, "NOT_FOUND"),
    ] {
        let patched = user.tus_patch(id, 0, "0").await;
        assert_eq!(patched.problem(), problem(status, code), "{id}");
        let head = user.tus_head(id).await.expect(status);
        assert_eq!([patched.header("upload-offset"), head.header("upload-offset")], ["", ""]);
    }
}

#[tokio::test]
async fn a_termination_ends_an_open_upload() {
    let app = TestApp::on_disk().await;
    let user = app.user("ann").await;
    let open = user.tus_create(25, "").await;
    user.tus_patch(&open, 0, &FILE[..7]).await.expect(204);
    for _ in 0..2 {
        assert_eq!(send(&user, "DELETE", &open).await.expect(204).header("upload-offset"), "");
    }
    let session = user.status(&open).await;
    assert_eq!((&session["status"], &session["status_reason"]), (&json!("ABORTED"), &json!("aborted_by_owner")));
    assert_eq!(app.bytes_on_disk(), [] as [&str; 0]);

    let foreign = app.user("bob").await.tus_create(25, "").await;
    for id in [&foreign, UNKNOWN, "nonsense"] {
        assert_eq!(send(&user, "DELETE", id).await.problem(), problem(404, "NOT_FOUND"), "{id}");
    }
}

#[tokio::test]
async fn the_url_of_a_complete_upload_leads_to_its_file() {
    let app = TestApp::on_disk().await;
    let user = app.user("ann").await;
    let id = user.tus_create(25, "").await;
    assert_eq!(send(&user, "GET", &id).await.problem(), problem(404, "NOT_FOUND"));
    user.tus_patch(&id, 0, FILE).await.expect(204);
    let request = user.request("GET", &format!("/uploads/tus/{id}")).header("host", "files.example.org");
    let found = user.send(request.body(Body::empty()).unwrap()).await.expect(303);
    let path = found.header("location").strip_prefix("http://files.example.org").unwrap();
    assert_eq!(user.get(path).await.expect(200).bytes, FILE);
    assert_eq!(send(&user, "GET", UNKNOWN).await.problem(), problem(404, "NOT_FOUND"));
}

#[tokio::test]
async fn a_post_may_name_its_real_method() {
    let app = TestApp::on_disk().await;
    let user = app.user("ann").await;
    let id = user.tus_create(25, "").await;
    let named = |method| user.tus("POST", &format!("/uploads/tus/{id}")).header("x-http-method-override", method);
    let patch = named("PATCH").header("content-type", BYTES).header("upload-offset", 0);
    let patched = user.send(patch.body(FILE[..7].into()).unwrap()).await.expect(204);
    assert_eq!(patched.header("upload-offset"), "7");
    for method in ["HEAD", "Head"] {
        let head = user.send(named(method).body(Body::empty()).unwrap()).await.expect(200);
        assert_eq!(head.header("upload-offset"), "7");
    }
    for method in ["PUT", "POST", ""] {
        let answer = user.send(named(method).body(Body::empty()).unwrap()).await;
        assert_eq!(answer.problem(), problem(405, "METHOD_NOT_ALLOWED"), "{method}");
    }
    user.send(named("DELETE").body(Body::empty()).unwrap()).await.expect(204);
    user.tus_head(&id).await.expect(410);
    let create = |method: &[u8]| {
        let post = user.tus("POST", "/uploads/tus").header("upload-length", 5);
        post.header("x-http-method-override", HeaderValue::from_bytes(method).unwrap())
    };
    let count = session_count(&user).await;
    for method in ["PATCH", "HEAD", "DELETE", "GET", "OPTIONS", "put", ""]
        .map(str::as_bytes)
        .into_iter()
        .chain([b"\xff".as_slice()])
    {
        let answer = user.send(create(method).body(Body::empty()).unwrap()).await;
        assert_eq!(answer.problem(), problem(405, "METHOD_NOT_ALLOWED"), "{method:?}");
    }
    let foreign = create(b"HEAD").header("origin", "https://evil.example.org").header("sec-fetch-site", "cross-site");
    assert_eq!(user.send(foreign.body(Body::empty()).unwrap()).await.problem(), problem(403, "FORBIDDEN"));
    assert_eq!(session_count(&user).await, count);
    user.send(create(b"POST").body(Body::empty()).unwrap()).await.expect(201);
    // Only a POST: other methods pass the check of the origin, and caches.
    let id = user.tus_create(25, "").await;
    let get = user.tus("GET", &format!("/uploads/tus/{id}")).header("x-http-method-override", "DELETE");
    user.send(get.body(Body::empty()).unwrap()).await.expect(404);
    assert_eq!(user.tus_offset(&id).await, 0);
}

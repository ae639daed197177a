//! Browser pages of other origins, apps with web views, and the public URL behind a proxy.

use axum::body::Body;
use serde_json::json;

use crate::support::{Answer, TestApp};

async fn app(origins: &str) -> TestApp {
    TestApp::with(|config| origins.clone_into(&mut config.server.cors_origins)).await
}

/// A browser's preflight request for a page of `origin`.
async fn preflight(app: &TestApp, origin: &str, method: &str, headers: &str) -> Answer {
    let user = app.anonymous();
    let request = user.request("OPTIONS", "/uploads/sessions").header("origin", origin);
    let request = request.header("access-control-request-method", method);
    user.send(request.header("access-control-request-headers", headers).body(Body::empty()).unwrap()).await
}

#[tokio::test]
async fn a_page_of_a_trusted_origin_may_send_requests_and_read_the_headers_that_clients_need() {
    let app = app("https://app.example.org, capacitor://localhost,tauri://localhost, http://tauri.localhost").await;
    let headers = "authorization,baggage,content-digest,if-match,if-range,if-unmodified-since,traceparent,x-any";
    for origin in ["https://app.example.org", "capacitor://localhost", "tauri://localhost", "http://tauri.localhost"] {
        for method in ["GET", "POST", "PUT", "DELETE"] {
            let answer = preflight(&app, origin, method, headers).await.expect(200);
            assert_eq!(answer.header("access-control-allow-origin"), origin);
            assert!(answer.header("access-control-allow-methods").contains(method), "{answer:?}");
            assert_eq!(answer.header("access-control-allow-headers"), headers);
        }
        // The request itself, with the headers that a browser adds.
        let user = app.user("ann").await;
        let body = json!({ "original_filename": "f", "total_size_bytes": 1, "content_type": "" }).to_string();
        let request = user.request("POST", "/uploads/sessions").header("content-type", "application/json");
        let request = request.header("origin", origin).header("sec-fetch-site", "cross-site");
        let created = user.send(request.body(body.into()).unwrap()).await.expect(201);
        assert_eq!(created.header("access-control-allow-origin"), origin);
        for name in ["etag", "location", "x-request-id"] {
            assert!(created.header("access-control-expose-headers").contains(name), "{name}");
        }
    }
    for origin in ["https://other.example.org", "https://app.example.org.evil.org", "capacitor://evil", "null"] {
        let answer = preflight(&app, origin, "POST", "authorization").await;
        assert_eq!(answer.header("access-control-allow-origin"), "", "{origin}");
        let user = app.user("ann").await;
        let request = user.request("POST", "/graphql").header("content-type", "application/json");
        let request = request.header("origin", origin).header("sec-fetch-site", "cross-site");
        let refused = user.send(request.body(r#"{"query":"{ __typename }"}"#.into()).unwrap()).await;
        assert_eq!(refused.problem(), (403, "FORBIDDEN".to_owned()), "{origin}");
    }
}

#[tokio::test]
async fn urls_in_answers_begin_with_the_public_url() {
    for (setting, expected) in [
        ("", "/uploads/sessions/"),
        ("https://host.example.org", "https://host.example.org/uploads/sessions/"),
        ("https://host.example.org/partway/", "https://host.example.org/partway/uploads/sessions/"),
    ] {
        let app = TestApp::with(|config| setting.clone_into(&mut config.server.public_url)).await;
        let user = app.user("ann").await;
        let body = json!({ "original_filename": "f", "total_size_bytes": 1 });
        let created = user.post("/uploads/sessions", body).await.expect(201);
        let id = created.json()["session_id"].as_str().unwrap().to_owned();
        assert_eq!(created.header("location"), format!("{expected}{id}"));
    }
}

/// Behind a proxy that rewrites `Host`, the origin of the server's own pages does not match `Host`.
#[tokio::test]
async fn the_origin_of_the_public_url_is_trusted() {
    let app =
        TestApp::with(|config| "https://host.example.org/partway".clone_into(&mut config.server.public_url)).await;
    let user = app.user("ann").await;
    for (origin, status) in [("https://host.example.org", 200), ("https://evil.example.org", 403)] {
        let request = user.request("POST", "/graphql").header("content-type", "application/json");
        let request = request.header("host", "127.0.0.1:8080").header("origin", origin);
        user.send(request.body(r#"{"query":"{ __typename }"}"#.into()).unwrap()).await.expect(status);
    }
}

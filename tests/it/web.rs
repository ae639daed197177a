//! The pages: uploads at `/`, and GraphiQL.

use std::collections::BTreeSet;

use axum::{body::Body, http::Request};
use serde_json::json;
use url::Url;

use crate::support::TestApp;

/// What the texts between these two marks are.
fn between<'a>(text: &'a str, begin: &str, end: &str) -> Vec<&'a str> {
    text.split(begin).skip(1).filter_map(|rest| rest.split_once(end)).map(|(found, _)| found).collect()
}

#[tokio::test]
async fn the_page_needs_no_token_and_runs_only_own_code() {
    let app = TestApp::new().await;
    let page = app.anonymous().get("/").await.expect(200);
    assert_eq!(page.header("content-type"), "text/html; charset=utf-8");
    assert_eq!(page.header("referrer-policy"), "no-referrer");
    assert_eq!(page.header("cross-origin-opener-policy"), "same-origin");
    let policy = page.header("content-security-policy");
    for directive in ["default-src 'none'", "script-src 'self';", "connect-src 'self';", "frame-ancestors 'none'"] {
        assert!(policy.contains(directive), "{policy}");
    }
    assert!(!policy.contains("unsafe") && !policy.contains("http"), "{policy}");
    let html = page.text();
    // The policy refuses inline code and styles. The page has only relative URLs: a proxy may serve it under another path.
    for refused in ["<script>", "<style", " style=", " onclick=", "=\"/", "=\"http", "<!-- modules"] {
        assert!(!html.contains(refused), "{refused}: {html}");
    }
}

#[tokio::test]
async fn every_file_that_the_page_or_a_module_names_is_served() {
    let app = TestApp::new().await;
    let html = app.anonymous().get("/").await.expect(200).text();
    // Behind a proxy, below a path.
    let base = Url::parse("http://host/prefix/").unwrap();
    let of_page = between(&html, "href=\"page/", "\"").into_iter().chain(between(&html, "src=\"page/", "\""));
    let mut waiting: Vec<Url> = of_page.map(|name| base.join(&format!("page/{name}")).unwrap()).collect();
    let mut seen = BTreeSet::new();
    while let Some(url) = waiting.pop() {
        if !seen.insert(url.clone()) {
            continue;
        }
        let path = url.path().strip_prefix("/prefix").expect("below the page");
        let file = app.anonymous().get(path).await.expect(200);
        let content_type = if path.ends_with(".css") { "text/css" } else { "text/javascript" };
        assert_eq!(file.header("content-type"), format!("{content_type}; charset=utf-8"), "{path}");
        assert_eq!(file.header("x-content-type-options"), "nosniff");
        let text = file.text();
        let imports = text.lines().filter(|line| line.starts_with("import ") || line.starts_with("export {"));
        waiting.extend(imports.flat_map(|line| between(line, "from '", "'")).map(|name| url.join(name).unwrap()));
    }
    for name in ["main.js", "style.css", "client/index.js", "client/src/partway.js"] {
        assert!(seen.contains(&base.join(&format!("page/{name}")).unwrap()), "{name}");
    }
    for path in ["/page/", "/page/index.html", "/page/other.js", "/page/%ff", "/page/client/test/support.js"] {
        assert_eq!(app.anonymous().get(path).await.problem(), (404, "NOT_FOUND".to_owned()), "{path}");
    }
}

#[tokio::test]
async fn a_browser_asks_whether_its_copy_is_current() {
    let app = TestApp::new().await;
    for path in ["/", "/page/main.js"] {
        let first = app.anonymous().get(path).await.expect(200);
        assert_eq!(first.header("cache-control"), "no-cache");
        let conditional = |tag: &str| Request::get(path).header("if-none-match", tag).body(Body::empty()).unwrap();
        let again = app.anonymous().send(conditional(first.header("etag"))).await.expect(304);
        assert!(again.bytes.is_empty() && again.header("etag") == first.header("etag"), "{again:?}");
        app.anonymous().send(conditional("\"other\"")).await.expect(200);
        let head = app.anonymous().send(Request::head(path).body(Body::empty()).unwrap()).await.expect(200);
        assert!(head.bytes.is_empty());
        assert_eq!(head.header("content-length"), first.bytes.len().to_string());
    }
}

#[tokio::test]
async fn graphiql_needs_no_token_and_runs_only_its_own_files() {
    let app = TestApp::new().await;
    let page = app.anonymous().get("/graphiql").await.expect(200);
    let policy = page.header("content-security-policy");
    assert!(policy.starts_with("default-src 'none'") && policy.contains("connect-src 'self'"), "{policy}");
    assert!(!policy.contains("unsafe"), "{policy}");
    let html = String::from_utf8(page.bytes).unwrap();
    assert!(html.contains("graphiql.min.js"));
    // The page has only relative URLs: a proxy may serve it under another path.
    assert!(!html.contains("=\"/"), "{html}");
    for file in ["boot.js", "boot.css"] {
        let answer = app.anonymous().get(&format!("/graphiql/{file}")).await.expect(200);
        assert!(
            answer
                .header("content-type")
                .contains(file.rsplit('.').next().unwrap().replace("js", "javascript").as_str())
        );
    }
    app.anonymous().get("/graphiql/../Cargo.toml").await.expect(404);
    for path in ["/graphiql/other.js", "/graphiql/%ff", "/graphiql/%ff%00.js"] {
        assert_eq!(app.anonymous().get(path).await.problem(), (404, "NOT_FOUND".to_owned()), "{path}");
    }
}

#[tokio::test]
async fn the_prefilled_query_runs() {
    let app = TestApp::new().await;
    let user = app.user("ann").await;
    user.upload(b"0123456789").await;
    let data = user.data(include_str!("../../src/web/graphiql/first_query.graphql"), json!({})).await;
    assert_eq!(data["uploadSessions"]["nodes"][0]["receivedPartsText"], "1");
}

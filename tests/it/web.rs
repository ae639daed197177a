//! The GraphiQL page.

use serde_json::json;

use crate::support::TestApp;

#[tokio::test]
async fn the_page_needs_no_token_and_runs_only_its_own_files() {
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

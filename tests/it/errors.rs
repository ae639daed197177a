//! The table of codes, and the content of an error response.

use std::collections::HashSet;

use partway::error::Code;
use serde_json::json;

use crate::support::TestApp;

#[test]
fn the_documented_table_of_codes_is_complete() {
    let docs = include_str!("../../docs/api.md");
    let rows: Vec<&str> = docs.lines().filter(|line| line.starts_with("| `") && line.split('|').count() == 6).collect();
    let expected = Code::ALL.iter().map(|code| {
        let retry = if code.is_retryable() { "yes" } else { "no" };
        format!("| `{}` | {} | {retry} |", code.as_str(), code.http_status())
    });
    let expected: HashSet<String> = expected.collect();
    assert_eq!(expected.len(), Code::ALL.len(), "no two codes have the same name");
    for row in &expected {
        assert!(rows.iter().any(|line| line.starts_with(row)), "docs/api.md lacks the row {row}");
    }
    let is_code = |line: &&&str| ["yes", "no"].contains(&line.split('|').nth(3).unwrap_or_default().trim());
    for row in rows.iter().filter(is_code) {
        assert!(expected.iter().any(|code| row.starts_with(code)), "docs/api.md has a row for an unknown code: {row}");
    }
}

#[tokio::test]
async fn a_problem_has_a_code_and_the_request_id() {
    let app = TestApp::new().await;
    let user = app.user("ann").await;
    let answer = user.get("/uploads/sessions/nonsense").await;
    let body = answer.json();
    assert_eq!(body["request_id"], answer.header("x-request-id"));
    assert_eq!((&body["title"], &body["retryable"]), (&json!("Not Found"), &json!(false)));
}

#[tokio::test]
async fn the_server_accepts_a_request_id_only_if_it_is_short_and_plain() {
    let app = TestApp::new().await;
    let user = app.anonymous();
    let longest = "x".repeat(128);
    for (id, is_kept) in [("abc-1", true), (&longest, true), (&"x".repeat(129), false), ("", false), ("a b<c>", false)]
    {
        let request = user.request("GET", "/health").header("x-request-id", id).body("".into()).unwrap();
        let answer = user.send(request).await.expect(200);
        assert_eq!(answer.header("x-request-id") == id, is_kept, "{id}");
        assert!(!answer.header("x-request-id").is_empty());
    }
}

#[tokio::test]
async fn metrics_have_a_content_type_for_a_browser_and_one_for_a_scraper() {
    let app = TestApp::new().await;
    let user = app.anonymous();
    for (accept, expected) in [
        ("text/html,application/xhtml+xml,*/*;q=0.8", "text/plain; version=0.0.4; charset=utf-8"),
        (
            "application/openmetrics-text;version=1.0.0,*/*;q=0.1",
            "application/openmetrics-text; version=1.0.0; charset=utf-8",
        ),
    ] {
        let request = user.request("GET", "/metrics").header("accept", accept).body("".into()).unwrap();
        assert_eq!(user.send(request).await.expect(200).header("content-type"), expected);
    }
}

#[tokio::test]
async fn unknown_paths_and_methods_get_problems_too() {
    let app = TestApp::new().await;
    let user = app.user("ann").await;
    assert_eq!(user.get("/uploads").await.problem(), (404, "NOT_FOUND".to_owned()));
    let answer = user.send(user.request("PATCH", "/uploads/sessions").body("".into()).unwrap()).await;
    assert_eq!(answer.problem(), (405, "METHOD_NOT_ALLOWED".to_owned()));
    assert!(answer.header("allow").contains("POST"), "{answer:?}");
}

/// A missing table is a fault of the server. The response says so, without any detail.
#[tokio::test]
async fn a_response_does_not_contain_the_cause_of_an_internal_error() {
    let app = TestApp::new().await;
    app.expect_damage();
    let user = app.user("ann").await;
    let id = user.create_id(10).await;
    app.execute("UPDATE upload_session SET status = 'NONSENSE'").await;
    let answer = user.finalize(&id).await;
    assert_eq!(answer.problem(), (500, "INTERNAL".to_owned()));
    let rest = answer.json();
    assert_eq!(rest["detail"], "an internal error occurred");
    assert!(!rest.to_string().contains("upload_session "));

    let mutation = "mutation($id: ID!) { finalizeUploadSession(input: { id: $id }) { userErrors { code } } }";
    let graphql = user.graphql(mutation, json!({ "id": id })).await;
    let error = &graphql["errors"][0];
    assert_eq!((&error["message"], &error["extensions"]["code"]), (&rest["detail"], &json!("INTERNAL")));
    assert!(error["extensions"]["requestId"].is_string());
    assert!(!graphql.to_string().contains("upload_session "));
}

//! The limits of GraphQL requests. The server refuses each attack with a code.

use partway::config::Config;
use serde_json::json;

use crate::support::{TestApp, sha256_hex};

async fn refusal(change: impl FnOnce(&mut Config), query: &str) -> String {
    let app = TestApp::with(change).await;
    let user = app.user("ann").await;
    let answer = user.graphql(query, json!({})).await;
    let error = &answer["errors"][0];
    assert_eq!(error["extensions"]["code"], "INVALID_INPUT", "{answer}");
    error["message"].as_str().unwrap().to_owned()
}

fn repeat(count: usize, piece: impl Fn(usize) -> String) -> String {
    format!("{{ {} }}", (0..count).map(piece).collect::<Vec<_>>().join(" "))
}

#[tokio::test]
async fn a_hundred_aliases_are_refused() {
    let query = repeat(101, |n| format!("a{n}: __typename"));
    assert!(refusal(|_| (), &query).await.contains("aliases"));
    let within = repeat(10, |n| format!("a{n}: __typename"));
    assert!(refusal(|config| config.graphql.max_aliases = 9, &within).await.contains("more than 9 aliases"));
}

#[tokio::test]
async fn the_same_field_a_hundred_times_is_refused() {
    let query = repeat(101, |_| "__typename".to_owned());
    assert!(refusal(|_| (), &query).await.contains("at its root"));
}

#[tokio::test]
async fn a_deep_query_is_refused() {
    let query = "{ node(id: \"x\") { ... on UploadSession { file { id } } } }";
    assert!(refusal(|config| config.graphql.max_depth = 2, query).await.contains("deep"));
}

#[tokio::test]
async fn pages_of_pages_are_refused_and_a_negative_page_does_not_reduce_the_complexity() {
    let pages = "{ uploadSessions(first: 100) { nodes { parts(first: 100) { nodes { partNumber sha256 } } } } }";
    assert!(refusal(|_| (), pages).await.contains("complex"));
    let fields = "uploadSessions(first: 100) { nodes { id status totalParts version createdAt } }";
    let with_negative_page = repeat(31, |n| match n {
        30 => "b: uploadSessions(first: -2147483648) { nodes { id } }".to_owned(),
        n => format!("a{n}: {fields}"),
    });
    assert!(refusal(|_| (), &with_negative_page).await.contains("complex"));
    let negative = "{ uploadSessions(first: -900) { nodes { id } } }";
    assert!(refusal(|_| (), negative).await.contains("first"));
}

#[tokio::test]
async fn many_directives_are_refused() {
    // The query is valid except for the limit: it has no directive twice.
    let query = "{ __typename @include(if: true) @skip(if: false) }";
    let message = refusal(|config| config.graphql.max_directives = 1, query).await;
    assert!(message.contains("directives") && message.contains('1'), "{message}");
    let app = TestApp::with(|config| config.graphql.max_directives = 2).await;
    assert_eq!(app.user("ann").await.data(query, json!({})).await["__typename"], "Query");
}

#[tokio::test]
async fn circular_introspection_is_refused_and_that_of_tools_is_served() {
    let circle = "{ __schema { types { fields { type { fields { type { fields { type { name } } } } } } } } }";
    assert!(refusal(|_| (), circle).await.contains("introspection"));
    let app = TestApp::new().await;
    let user = app.user("ann").await;
    let tool =
        "{ __schema { types { name fields(includeDeprecated: true) { name args { type { kind ofType { kind ofType {
        kind ofType { kind ofType { kind ofType { kind ofType { name } } } } } } } } type { kind ofType { name } } }
        inputFields { name } interfaces { name } possibleTypes { name } enumValues { name } } } }";
    assert!(user.data(tool, json!({})).await["__schema"]["types"].is_array());
}

#[tokio::test]
async fn an_exponential_fragment_bomb_is_refused() {
    let fragment = |n: usize| format!("fragment f{n} on Query {{ ...f{m} ...f{m} ...f{m} }} ", m = n + 1);
    let bomb: String = (0..25).map(fragment).collect();
    let message = refusal(|_| (), &format!("{{ ...f0 }} {bomb} fragment f25 on Query {{ __typename }}")).await;
    assert!(message.contains("fragments"), "{message}");
}

#[tokio::test]
async fn the_schema_can_be_hidden() {
    let app = TestApp::with(|config| {
        config.graphql.introspection = false;
        config.graphql.suggestions = false;
    })
    .await;
    let user = app.user("ann").await;
    let schema = user.graphql("{ __schema { types { name } } }", json!({})).await;
    assert!(!schema.to_string().contains("UploadSession"), "{schema}");
    let typo = user.graphql("{ uploadSession(id: 1) { ids } }", json!({})).await;
    assert!(!typo.to_string().contains("Did you mean"), "{typo}");
}

/// Documents whose brackets, fragments or values nest deeper than a stack allows, at every place where they can nest.
fn deep_documents() -> Vec<String> {
    let lists = |levels: usize| format!("{}1{}", "[".repeat(levels), "]".repeat(levels));
    let objects = |levels: usize| format!("{}1{}", "{a:".repeat(levels), "}".repeat(levels));
    let chain: String = (0..1_500).map(|n| format!("fragment f{n} on Query{{...f{}}}", n + 1)).collect();
    vec![
        format!("{{ node(id: {}) {{ id }} }}", lists(1_500)),
        format!("{{ node(id: {}) {{ id }} }}", objects(1_500)),
        format!("query($a: [ID] = {}) {{ __typename }}", lists(1_500)),
        format!("query($a: {}ID{}) {{ __typename }}", "[".repeat(1_500), "]".repeat(1_500)),
        format!("{{ __typename @skip(if: {}) }}", lists(20_000)),
        "{a".repeat(1_500) + &"}".repeat(1_500),
        "{... ".repeat(10_000),
        lists(30_000),
        format!("{{...f0}} {chain} fragment f1500 on Query{{__typename}}"),
    ]
}

#[tokio::test]
async fn deep_nesting_is_refused_before_recursive_code_runs() {
    let app = TestApp::new().await;
    let user = app.user("ann").await;
    for document in deep_documents() {
        let sha256 = sha256_hex(document.as_bytes());
        let persisted = json!({ "persistedQuery": { "version": 1, "sha256Hash": sha256 } });
        for body in [json!({ "query": document }), json!({ "query": document, "extensions": persisted })] {
            for accept in ["application/json", "text/event-stream"] {
                let request = user.request("POST", "/graphql").header("content-type", "application/json");
                let request = request.header("accept", accept).body(axum::body::Body::from(body.to_string())).unwrap();
                let answer = user.send(request).await;
                assert!(answer.text().contains("INVALID_INPUT"), "{}", answer.text());
            }
        }
    }
    for variables in ["[".repeat(5_000), "{\"a\":".repeat(5_000)] {
        let body = format!("{{\"query\":\"{{__typename}}\",\"variables\":{variables}");
        let request = user.request("POST", "/graphql").header("content-type", "application/json");
        let answer = user.send(request.body(axum::body::Body::from(body)).unwrap()).await.expect(400);
        assert!(answer.text().contains("INVALID_INPUT"));
    }
}

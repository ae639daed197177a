//! Metrics: their names, their labels and the documented table. Dashboards and alerts use no other names.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::json;

use crate::support::{TestApp, file_bytes};

/// The metric that a series belongs to.
fn family(series: &str) -> &str {
    ["_bucket", "_sum", "_count"].iter().find_map(|end| series.strip_suffix(end)).unwrap_or(series)
}

/// All metrics: from the metric's name to the names of its labels.
fn series(text: &str) -> BTreeMap<String, BTreeSet<String>> {
    let mut found = BTreeMap::new();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let (name, labels) = line.rsplit_once(' ').unwrap().0.split_once('{').unwrap_or((line, ""));
        let name = name.split(' ').next().unwrap();
        let labels =
            labels.trim_end_matches('}').split(',').filter_map(|label| Some(label.split_once('=')?.0.to_owned()));
        let known: &mut BTreeSet<String> = found.entry(family(name).to_owned()).or_default();
        known.extend(labels.filter(|label| label != "le"));
    }
    found
}

/// The table in docs/operations.md: from the metric's name to the names of its labels.
fn documented() -> BTreeMap<String, BTreeSet<String>> {
    let docs = include_str!("../../docs/operations.md");
    let rows = docs.lines().filter(|line| line.starts_with("| `partway_"));
    rows.map(|row| {
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        let labels = cells[3].split(',').map(|label| label.trim().trim_matches('`').to_owned());
        (cells[1].trim_matches('`').to_owned(), labels.filter(|label| !label.is_empty()).collect())
    })
    .collect()
}

#[tokio::test]
async fn every_metric_is_in_the_documented_table() {
    let app = TestApp::on_disk().await;
    let user = app.user("ann").await;
    let file = file_bytes(10);
    let finished = user.create_id(10).await;
    user.put_parts(&finished, &file, [1]).await;
    user.finalize(&finished).await.expect(200);
    let aborted = user.create_id(10).await;
    // Nothing listens there.
    app.service.add_webhook("http://127.0.0.1:1", &[], None).await.unwrap();
    user.delete(&format!("/uploads/sessions/{aborted}")).await.expect(204);
    assert_eq!(app.service.deliver_due().await.failed, 1);

    let text = user.get("/metrics").await.expect(200).text();
    assert_eq!(series(&text), documented());
}

/// A counter that appears with its first event would hide that event from a rate, and so from an alert.
#[tokio::test]
async fn the_counters_of_events_begin_at_zero() {
    let app = TestApp::on_disk().await;
    let user = app.user("ann").await;
    let text = user.get("/metrics").await.expect(200).text();
    for line in [
        r#"partway_sessions_total{event="Failed"} 0"#,
        r#"partway_sessions_total{event="FileDeleted"} 0"#,
        r#"partway_parts_total{outcome="Refused"} 0"#,
        r#"partway_webhook_attempts_total{outcome="Gone"} 0"#,
    ] {
        assert!(text.lines().any(|found| found == line), "no {line} in:\n{text}");
    }
}

#[test]
fn dashboards_and_alerts_use_documented_metrics() {
    for (file, text) in [
        ("partway.json", include_str!("../../packaging/grafana/partway.json")),
        ("partway.rules.yaml", include_str!("../../packaging/prometheus/partway.rules.yaml")),
        ("partway.rules.test.yaml", include_str!("../../packaging/prometheus/partway.rules.test.yaml")),
    ] {
        let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        let names: BTreeSet<&str> = words.filter(|word| word.starts_with("partway_")).map(family).collect();
        let unknown: Vec<_> = names.iter().filter(|name| !documented().contains_key(**name)).collect();
        assert!(
            !names.is_empty() && unknown.is_empty(),
            "{file} uses {unknown:?}, which docs/operations.md does not list"
        );
    }
}

#[tokio::test]
async fn each_event_is_counted_once() {
    let app = TestApp::on_disk().await;
    let user = app.user("ann").await;
    let file = file_bytes(20);
    let id = user.create_id(20).await;
    user.put_parts(&id, &file, [1, 2]).await;
    user.put(&id, 1, &file[..10]).await.expect(200);
    user.put(&id, 2, "0123456789").await.expect(409);
    for _ in 0..2 {
        user.finalize(&id).await.expect(200);
    }
    let wrong = json!({ "original_filename": "f", "total_size_bytes": 10, "sha256": "0".repeat(64) });
    let failed =
        user.post("/uploads/sessions", wrong).await.expect(201).json()["session_id"].as_str().unwrap().to_owned();
    user.put_parts(&failed, &file, [1]).await;
    user.finalize(&failed).await.expect(400);

    let text = user.get("/metrics").await.expect(200).text();
    for line in [
        r#"partway_sessions_total{event="Created"} 2"#,
        r#"partway_sessions_total{event="Finalized"} 1"#,
        r#"partway_sessions_total{event="Failed"} 1"#,
        r#"partway_parts_total{outcome="Received"} 3"#,
        r#"partway_parts_total{outcome="Replayed"} 1"#,
        r#"partway_parts_total{outcome="Refused"} 1"#,
        "partway_parts_received_bytes_total 30",
        r#"partway_request_duration_seconds_count{method="PUT",route="/uploads/sessions/{id}/parts/{number}",status="409"} 1"#,
    ] {
        assert!(text.contains(line), "no {line} in:\n{text}");
    }
}

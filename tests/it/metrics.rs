//! Metrics: their names, their labels and the documented table. Dashboards and alerts use no other names.

use std::{
    collections::{BTreeMap, BTreeSet},
    str::FromStr,
    sync::Arc,
};

use chrono::TimeDelta;
use partway::{config::Config, domain::Clock};
use serde_json::json;
use sqlx::{Connection, Executor};

use crate::support::{
    Cause, Deadline, Events, Place, Receiver, Reply, Server, Step, TestApp, When, file_bytes, putting,
};

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
    app.service.refresh_metrics().await.unwrap();

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
        r#"partway_sweeps_total{outcome="Incomplete"} 0"#,
        r#"partway_swept_total{result="Failed"} 0"#,
        r#"partway_leases{kind="Part"} 0"#,
        r#"partway_queue_length{queue="Record"} 0"#,
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

/// The value of a series.
#[track_caller]
fn value<T: FromStr>(app: &TestApp, series: &str) -> T {
    let text = app.service.metrics_text();
    let line = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    line.and_then(|line| line.parse().ok()).unwrap_or_else(|| panic!("no {series} in:\n{text}"))
}

/// Waits until a series has a value.
async fn until(app: &TestApp, series: &str, expected: i64) {
    let has_value = async || value::<i64>(app, series) == expected;
    Deadline::new().until(&format!("{series} {expected}"), has_value).await;
}

/// For tests that lock the database, or whose clock moves.
fn on_sqlite(config: &mut Config) {
    config.stores.database = String::new();
}

#[tokio::test]
async fn a_state_is_read_from_the_database_once_and_then_from_memory() {
    let app = TestApp::on_disk().await;
    let user = app.user("ann").await;
    let id = user.create_id(10).await;
    let reads = |source: &str| value::<i64>(&app, &format!(r#"partway_state_reads_total{{source="{source}"}}"#));
    let before = (reads("Memory"), reads("Database"));
    assert_eq!(value::<i64>(&app, "partway_states_in_memory"), 0);
    for _ in 0..3 {
        user.status(&id).await;
    }
    assert_eq!((reads("Memory") - before.0, reads("Database") - before.1), (2, 1));
    assert_eq!(value::<i64>(&app, "partway_states_in_memory"), 1);
    assert!(value::<i64>(&app, "partway_states_in_memory_bytes") > 1_000);
    user.put(&id, 1, "0123456789").await.expect(201);
    assert_eq!(value::<i64>(&app, "partway_states_in_memory"), 0);
}

#[tokio::test]
async fn parts_that_wait_for_their_sync_are_in_a_queue() {
    for (place, leases) in [(Place::Folder, 0), (Place::objects(), 2)] {
        let (app, faults) = TestApp::with_faults_and(&place, on_sqlite).await;
        let user = app.user("ann").await;
        let id = user.create_id(20).await;
        let gate = faults.hold(When::Before, Step::Persist);
        let puts = [putting(&user, &id, 1, b"0123456789"), putting(&user, &id, 2, b"0123456789")];
        for _ in &puts {
            gate.reached().await;
        }
        assert_eq!(value::<i64>(&app, r#"partway_queue_length{queue="Persist"}"#), 2, "{place:?}");
        assert_eq!(value::<i64>(&app, r#"partway_leases{kind="Part"}"#), leases, "{place:?}");
        gate.open();
        for put in puts {
            put.await.unwrap().expect(201);
        }
        assert_eq!(value::<i64>(&app, r#"partway_queue_length{queue="Persist"}"#), 0, "{place:?}");
        assert_eq!(value::<i64>(&app, r#"partway_leases{kind="Part"}"#), 0, "{place:?}");
    }
}

#[tokio::test]
async fn writes_that_wait_for_a_locked_database_are_in_queues() {
    let app = TestApp::on_disk_with(on_sqlite).await;
    let user = app.user("ann").await;
    let id = user.create_id(10).await;
    let waited: f64 = value(&app, "partway_db_write_wait_seconds_sum");
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(app.folder().join("partway.db"));
    let mut other = sqlx::SqliteConnection::connect_with(&options).await.unwrap();
    other.execute("BEGIN IMMEDIATE").await.unwrap();
    let put = putting(&user, &id, 1, b"0123456789");
    until(&app, r#"partway_queue_length{queue="Record"}"#, 1).await;
    until(&app, r#"partway_db_connections{pool="Write",state="Busy"}"#, 1).await;
    let creating = tokio::spawn({
        let user = user.clone();
        async move { user.create_id(10).await }
    });
    until(&app, r#"partway_queue_length{queue="Write"}"#, 1).await;
    other.execute("ROLLBACK").await.unwrap();
    put.await.unwrap().expect(201);
    creating.await.unwrap();
    for series in [r#"queue_length{queue="Record"}"#, r#"queue_length{queue="Write"}"#] {
        assert_eq!(value::<i64>(&app, &format!("partway_{series}")), 0);
    }
    until(&app, r#"partway_db_connections{pool="Write",state="Busy"}"#, 0).await;
    assert_eq!(value::<i64>(&app, r#"partway_db_connections_max{pool="Write"}"#), 1);
    assert!(value::<f64>(&app, "partway_db_write_wait_seconds_sum") > waited);
    assert!(value::<i64>(&app, "partway_db_write_wait_seconds_count") > 2);
}

#[tokio::test]
async fn a_sweep_counts_what_it_has_done_and_whether_it_was_complete() {
    let (app, faults) = TestApp::with_faults_and(&Place::Folder, on_sqlite).await;
    let user = app.user("ann").await;
    let ids = [user.create_id(20).await, user.create_id(20).await];
    for id in &ids {
        user.put(id, 1, "0123456789").await.expect(201);
    }
    app.advance(TimeDelta::days(8));
    let gate = faults.hold(When::Before, Step::Discard);
    let sweeping = tokio::spawn({
        let service = Arc::clone(&app.service);
        async move { service.sweep().await }
    });
    gate.reached().await;
    until(&app, r#"partway_leases{kind="Freeing"}"#, 2).await;
    gate.fail(Cause::Broken);
    sweeping.await.unwrap();
    let result = |name: &str| value::<i64>(&app, &format!(r#"partway_swept_total{{result="{name}"}}"#));
    assert_eq!((result("Expired"), result("Freed"), result("Failed")), (2, 0, 2));
    assert_eq!(value::<i64>(&app, r#"partway_leases{kind="Freeing"}"#), 0);
    assert_eq!(value::<i64>(&app, r#"partway_sweeps_total{outcome="Complete"}"#), 1);
    let at: i64 = value(&app, "partway_sweep_last_complete_timestamp_seconds");
    assert!((at - app.clock.now().timestamp()).abs() < 5, "{at}");

    faults.heal();
    app.advance(TimeDelta::hours(1));
    app.service.sweep().await;
    assert_eq!((result("Freed"), result("Failed")), (2, 2));
    assert_eq!(value::<i64>(&app, "partway_sweep_duration_seconds_count"), 2);
    let complete: i64 = value(&app, "partway_sweep_last_complete_timestamp_seconds");
    assert!((complete - at - 3_600).abs() < 5, "{complete}");

    // Without the table, one step fails.
    app.expect_damage();
    app.execute("ALTER TABLE webhook RENAME TO lost").await;
    app.advance(TimeDelta::hours(1));
    app.service.sweep().await;
    assert_eq!(value::<i64>(&app, r#"partway_sweeps_total{outcome="Incomplete"}"#), 1);
    assert_eq!(value::<i64>(&app, "partway_sweep_last_complete_timestamp_seconds"), complete);
}

#[tokio::test]
async fn events_wait_until_they_have_a_position() {
    let app = TestApp::on_disk().await;
    let user = app.user("ann").await;
    let id = user.create_id(10).await;
    user.put(&id, 1, "0123456789").await.expect(201);
    user.finalize(&id).await.expect(200);
    user.upload(b"another").await;
    app.advance(TimeDelta::minutes(5));
    app.service.refresh_metrics().await.unwrap();
    assert_eq!(value::<i64>(&app, "partway_events_waiting"), 2);
    let age: i64 = value(&app, "partway_events_oldest_waiting_seconds");
    assert!((300..360).contains(&age), "{age}");
    user.get("/events").await.expect(200);
    app.service.refresh_metrics().await.unwrap();
    assert_eq!(
        (value::<i64>(&app, "partway_events_waiting"), value::<i64>(&app, "partway_events_oldest_waiting_seconds")),
        (0, 0)
    );
}

#[tokio::test]
async fn free_space_is_that_of_the_file_system() {
    let app = TestApp::on_disk_with(|config| config.stores.min_free_space = bytesize::ByteSize::b(7)).await;
    app.service.refresh_metrics().await.unwrap();
    let space = rustix::fs::statvfs(app.folder()).unwrap();
    let free = space.f_bavail * space.f_frsize;
    let shown: u64 = value(&app, r#"partway_free_bytes{place="Storage"}"#);
    assert!(shown.abs_diff(free) < free / 5, "{shown} of {free}");
    assert_eq!(value::<i64>(&app, "partway_min_free_bytes"), 7);
}

#[tokio::test]
async fn streams_and_deliveries_under_way_are_counted() {
    let app = TestApp::on_disk().await;
    let user = app.user("ann").await;
    let id = user.create_id(10).await;
    let mut events = Events::open(&user, &format!("/uploads/sessions/{id}/events"), None).await;
    events.next().await.unwrap();
    assert_eq!(value::<i64>(&app, "partway_streams"), 1);
    drop(events);
    until(&app, "partway_streams", 0).await;

    let receiver = Receiver::start().await;
    receiver.reply([Reply::Hang]);
    app.service.add_webhook(&receiver.url, &[], None).await.unwrap();
    user.delete(&format!("/uploads/sessions/{id}")).await.expect(204);
    let tasks = app.service.start_deliveries().await.unwrap();
    receiver.wait_for(1).await;
    assert_eq!(value::<i64>(&app, r#"partway_leases{kind="Delivery"}"#), 1);
    // Ends what hangs.
    app.service.close().await;
    for task in tasks {
        task.await.unwrap();
    }
    assert_eq!(value::<i64>(&app, r#"partway_leases{kind="Delivery"}"#), 0);
}

#[test]
fn open_connections_are_counted() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path(), &[]);
    let connections = || {
        let (_, text) = server.get("/metrics");
        let line = text.lines().find_map(|line| line.strip_prefix("partway_connections ").map(str::to_owned));
        line.unwrap().parse::<i64>().unwrap()
    };
    let deadline = Deadline::new();
    let open: Vec<_> = (0..3).map(|_| std::net::TcpStream::connect(&server.address).unwrap()).collect();
    // The request itself has one.
    while connections() != 4 {
        deadline.wait_for("4 connections");
    }
    drop(open);
    while connections() != 1 {
        deadline.wait_for("1 connection");
    }
}

//! Traces: the spans that a collector receives from the real binary, and the trace id in the log.

use std::{fs::File, time::Instant};

use opentelemetry_proto::tonic::trace::v1::{Span, span::SpanKind, status::StatusCode};
use reqwest::{Client, Response};
use rustix::process::Signal;
use serde_json::{Value, json};
use sqlx::{Connection, Executor, SqliteConnection, sqlite::SqliteConnectOptions};
use tempfile::{NamedTempFile, TempDir};

use crate::{
    support::{Cli, Collector, Deadline, Receiver, Reply, Server, attributes},
    websocket::Socket,
};

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const PARENT: &str = "00f067aa0ba902b7";
const SAMPLED: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

/// A server with a log, and a client that may send a trace context.
struct Traced {
    server: Server,
    http: Client,
    log: NamedTempFile,
    folder: TempDir,
}

impl Traced {
    fn start(settings: &[(&str, &str)]) -> Self {
        let (folder, log) = (tempfile::tempdir().unwrap(), NamedTempFile::new().unwrap());
        let settings = [&[("PARTWAY_CHUNK_SIZE", "10B"), ("RUST_LOG", "info")], settings].concat();
        let server = Server::start_with_log(log.reopen().unwrap().into(), folder.path(), &settings);
        Self { server, http: Client::new(), log, folder }
    }

    async fn send(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<reqwest::Body>,
    ) -> Response {
        let url = format!("{}{path}", self.server.url);
        let mut request = self.http.request(method.parse().unwrap(), url).bearer_auth(&self.server.first_token);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.header("content-type", "application/json").body(body).send().await.unwrap()
    }

    /// Creates a session. Returns its id.
    async fn create(&self, headers: &[(&str, &str)], name: &str, size: usize) -> String {
        let body = json!({ "original_filename": name, "total_size_bytes": size, "metadata": { "secret": "hidden" } });
        let created = self.send("POST", "/uploads/sessions", headers, body.to_string()).await;
        assert_eq!(created.status(), 201);
        let created: Value = created.json().await.unwrap();
        created["session_id"].as_str().unwrap().to_owned()
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.log.path()).unwrap()
    }

    /// Stops the server, which exports its last spans.
    fn stop(self) -> String {
        let log = self.log.reopen().unwrap();
        self.server.signal(Signal::INT);
        assert!(self.server.wait().success());
        read(log)
    }
}

fn read(log: File) -> String {
    std::io::read_to_string(log).unwrap()
}

fn hex(id: &[u8]) -> String {
    hex::encode(id)
}

fn code(span: &Span) -> Option<StatusCode> {
    span.status.as_ref().map(|status| status.code()).filter(|code| *code != StatusCode::Unset)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_is_a_span_below_that_of_its_client() {
    let collector = Collector::start().await;
    let mut settings = collector.settings().to_vec();
    settings.extend([
        ("OTEL_EXPORTER_OTLP_HEADERS", "x-collector-key=abc"),
        ("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=test"),
    ]);
    let traced = Traced::start(&settings);
    let token = traced.server.first_token.clone();
    let headers = [("traceparent", SAMPLED), ("tracestate", "vendor=1"), ("x-request-id", "request-7")];
    let id = traced.create(&headers, "hidden-name.txt", 10).await;
    let part = traced.send("PUT", &format!("/uploads/sessions/{id}/parts/1?secret=hidden"), &[], "0123456789").await;
    assert_eq!(part.status(), 201);
    let finalized =
        traced.send("POST", &format!("/uploads/sessions/{id}/finalize"), &[("traceparent", SAMPLED)], "{}").await;
    assert_eq!(finalized.status(), 200);
    let missing = traced.send("GET", "/files/01a20a4b-0d81-74b7-ac0b-a246bcbec973", &[], "").await;
    assert_eq!(missing.status(), 404);
    let log = traced.stop();

    let create = collector.span("POST /uploads/sessions");
    assert_eq!((hex(&create.trace_id), hex(&create.parent_span_id)), (TRACE.to_owned(), PARENT.to_owned()));
    assert_eq!((create.kind(), create.trace_state.as_str(), code(&create)), (SpanKind::Server, "vendor=1", None));
    let expected = [
        ("http.request.method", "POST"),
        ("http.route", "/uploads/sessions"),
        ("url.path", "/uploads/sessions"),
        ("url.scheme", "http"),
        ("http.response.status_code", "201"),
        ("partway.request_id", "request-7"),
    ];
    let expected = expected.map(|(name, value)| (name.to_owned(), value.to_owned()));
    assert_eq!(attributes(&create.attributes), expected.into());

    // A part without a client's context has a trace of its own, with its steps.
    let part = collector.span("PUT /uploads/sessions/{id}/parts/{number}");
    assert!(part.parent_span_id.is_empty() && hex(&part.trace_id) != TRACE);
    for step in ["persist part", "record part"] {
        let step = collector.span(step);
        assert_eq!((&step.trace_id, &step.parent_span_id), (&part.trace_id, &part.span_id), "{step:?}");
        assert_eq!(attributes(&step.attributes)["part.number"], "1");
        assert!(step.start_time_unix_nano >= part.start_time_unix_nano);
        assert!(step.end_time_unix_nano <= part.end_time_unix_nano);
    }
    assert_eq!(collector.span("record session").parent_span_id, create.span_id);
    let finalize = collector.span("POST /uploads/sessions/{id}/finalize");
    for step in ["complete file", "record end"] {
        assert_eq!(collector.span(step).parent_span_id, finalize.span_id);
    }

    let missing = collector.span("GET /files/{id}");
    let described = attributes(&missing.attributes);
    assert_eq!(
        (described["http.response.status_code"].as_str(), described["error.type"].as_str()),
        ("404", "NOT_FOUND")
    );
    assert_eq!(code(&missing), None, "a 404 is no failure of the server");

    let resource = collector.resource();
    assert_eq!(
        (resource["service.name"].as_str(), resource["deployment.environment.name"].as_str()),
        ("partway", "test")
    );
    assert!(resource.contains_key("service.version") && resource.contains_key("service.instance.id"));
    assert_eq!(collector.headers()["x-collector-key"], "abc");
    let received = collector.text();
    assert!(!received.contains("hidden") && !received.contains(&token), "{received}");

    // The log has the trace ids, and none of the exported spans.
    let created = log.lines().find(|line| line.contains("session created")).unwrap();
    assert!(created.contains(&format!("trace_id={TRACE}")), "{created}");
    let events = log.lines().filter(|line| line.contains("partway::service::events"));
    assert!(events.clone().count() == 3 && events.clone().all(|line| line.contains("trace_id=")), "{log}");
    let part_line = log.lines().find(|line| line.contains("part received")).unwrap();
    assert!(part_line.contains(&format!("trace_id={}", hex(&part.trace_id))), "{part_line}");
    assert!(!log.contains("record part") && !log.contains("otel."), "{log}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_error_is_a_failed_span() {
    let collector = Collector::start().await;
    let mut settings = collector.settings().to_vec();
    settings.extend([("PARTWAY_MIN_FREE_SPACE", "8000PiB"), ("OTEL_BSP_SCHEDULE_DELAY", "20")]);
    let traced = Traced::start(&settings);
    let body = json!({ "original_filename": "a", "total_size_bytes": 10 });
    let refused = traced.send("POST", "/uploads/sessions", &[], body.to_string()).await;
    assert_eq!(refused.status(), 503);
    let deadline = Deadline::new();
    while metric(&traced.server, r#"partway_spans_total{outcome="Exported"}"#) == 0 {
        deadline.wait_for("an export");
    }
    traced.stop();
    let span = collector.span("POST /uploads/sessions");
    assert_eq!(code(&span), Some(StatusCode::Error));
    assert_eq!(attributes(&span.attributes)["error.type"], "UNAVAILABLE");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_delivery_and_a_sweep_have_traces_of_their_own() {
    let (collector, receiver) = (Collector::start().await, Receiver::start().await);
    receiver.reply([Reply::Status(500)]);
    let traced = Traced::start(&collector.settings());
    let data = traced.folder.path().to_str().unwrap();
    let added = Cli::new(&["webhook", "add", &receiver.url, "--data", data]).run();
    assert!(added.status.success(), "{added:?}");
    let id = traced.create(&[], "a", 10).await;
    let aborted = traced.send("DELETE", &format!("/uploads/sessions/{id}"), &[], "").await;
    assert_eq!(aborted.status(), 204);
    receiver.wait_for(1).await;
    let log = || traced.log();
    Deadline::new().until("the result", async || log().contains("the server sends it again")).await;
    traced.stop();
    let delivery = collector.span("deliver webhook");
    assert_eq!((delivery.kind(), code(&delivery)), (SpanKind::Client, Some(StatusCode::Error)));
    let described = attributes(&delivery.attributes);
    assert_eq!(described["http.response.status_code"], "500");
    assert!(delivery.parent_span_id.is_empty() && described.contains_key("webhook.id"));
    let text = collector.text();
    assert!(!text.contains("hidden") && !text.contains(&receiver.url), "{text}");
    let sweep = collector.span("sweep");
    assert!(sweep.parent_span_id.is_empty() && code(&sweep).is_none());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_decides_whether_its_request_is_exported_and_the_ratio_decides_for_the_others() {
    let exported = async |ratio: &str| {
        let collector = Collector::start().await;
        let mut settings = collector.settings().to_vec();
        settings.push(("PARTWAY_OTLP_SAMPLE_RATIO", ratio));
        let traced = Traced::start(&settings);
        let not_sampled = SAMPLED.replace("-01", "-00");
        for (path, headers) in [
            ("/health", &[("traceparent", SAMPLED)][..]),
            ("/ready", &[("traceparent", not_sampled.as_str())]),
            ("/metrics", &[]),
        ] {
            assert_eq!(traced.send("GET", path, headers, "").await.status(), 200);
        }
        traced.stop();
        let names = collector.spans().into_iter().map(|span| span.name);
        let mut names: Vec<_> = names.filter(|name| name.starts_with("GET")).collect();
        names.sort();
        names
    };
    assert_eq!(exported("0").await, ["GET /health"]);
    assert_eq!(exported("1.0").await, ["GET /health", "GET /metrics"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_log_has_the_trace_id_of_the_client_without_a_collector() {
    let traced = Traced::start(&[]);
    traced.create(&[("traceparent", SAMPLED)], "a", 10).await;
    let line = traced.log();
    assert!(
        line.lines().any(|line| line.contains("session created") && line.contains(&format!("trace_id={TRACE}"))),
        "{line}"
    );
    let wrong = [
        "",
        "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
        "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
        "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
        "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        "00-1-1-01",
        "trace_id=1 injected",
    ];
    for wrong in wrong {
        traced.create(&[("traceparent", wrong), ("x-request-id", "wrong")], "a", 10).await;
    }
    traced.create(&[("traceparent", SAMPLED), ("traceparent", SAMPLED), ("x-request-id", "wrong")], "a", 10).await;
    let long = format!("a={}", "x".repeat(8_000));
    traced.create(&[("traceparent", SAMPLED), ("tracestate", &long), ("x-request-id", "long")], "a", 10).await;
    let log = traced.stop();
    let lines = |id: &str| log.lines().filter(|line| line.contains(&format!("id={id:?}"))).collect::<Vec<_>>();
    assert_eq!(lines("wrong").len(), wrong.len() + 1, "{log}");
    assert!(lines("wrong").iter().all(|line| !line.contains("trace_id")), "{log}");
    assert!(lines("long")[0].contains(&format!("trace_id={TRACE}")) && !log.contains("xxx"), "{log}");
}

/// REST, tus, `POST /files`, GraphQL by HTTP and over a WebSocket.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_json_log_has_the_trace_id_at_every_edge() {
    let collector = Collector::start().await;
    let settings = [("PARTWAY_LOG_FORMAT", "json"), ("PARTWAY_DATABASE", "")];
    trace_ids_at_every_edge(Traced::start(&settings)).await;
    trace_ids_at_every_edge(Traced::start(&[&settings[..], &collector.settings()].concat())).await;
    let traces = collector.spans().into_iter().filter(|span| hex(&span.parent_span_id) == PARENT).count();
    assert_eq!(traces, 5);
}

async fn trace_ids_at_every_edge(traced: Traced) {
    let context = ("traceparent", SAMPLED);
    traced.create(&[context], "a", 10).await;
    let tus = [context, ("tus-resumable", "1.0.0"), ("upload-length", "10")];
    assert_eq!(traced.send("POST", "/uploads/tus", &tus, "").await.status(), 201);
    let named = [context, ("content-disposition", "attachment; filename=\"a\"")];
    assert_eq!(traced.send("POST", "/files", &named, "0123456789").await.status(), 201);
    let query = r#"mutation { createUploadSession(input: { originalFilename: "g", totalSizeBytes: "1" })
        { userErrors { code } } }"#;
    let created = traced.send("POST", "/graphql", &[context], json!({ "query": query }).to_string()).await;
    assert_eq!(created.status(), 200);
    // A query over a WebSocket, which finds damage.
    let lost = rename_sessions(&traced).await;
    let (address, token) = (traced.server.address.clone(), traced.server.first_token.clone());
    let answer = tokio::task::spawn_blocking(move || {
        let mut socket = Socket::open_with(&address, &format!("traceparent: {SAMPLED}\r\n"));
        socket.identify(&token);
        let query = json!({ "query": "{ uploadSessions { nodes { id } } }" });
        socket.send_message(&json!({ "type": "subscribe", "id": "1", "payload": query }));
        socket.receive().unwrap().1
    });
    let answer = String::from_utf8(answer.await.unwrap()).unwrap();
    assert!(answer.contains("errors"), "{answer}");
    drop(lost);
    let log = traced.stop();
    let lines: Vec<Value> = log.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let with = |message: &str| lines.iter().filter(|line| line["fields"]["message"] == message).collect::<Vec<_>>();
    let (created, failed) = (with("session created"), with("request failed"));
    assert_eq!((created.len(), failed.len()), (4, 1), "{log}");
    assert_eq!(failed[0]["span"]["path"], "/graphql/ws");
    for line in created.into_iter().chain(failed) {
        assert_eq!((&line["span"]["trace_id"], &line["span"]["name"]), (&json!(TRACE), &json!("request")), "{line}");
    }
}

/// Damages the database of a running server.
async fn rename_sessions(traced: &Traced) -> SqliteConnection {
    let file = SqliteConnectOptions::new().filename(traced.folder.path().join("partway.db"));
    let mut connection = SqliteConnection::connect_with(&file).await.unwrap();
    connection.execute("ALTER TABLE upload_session RENAME TO lost").await.unwrap();
    connection
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_collector_that_is_down_or_hangs_costs_only_its_spans() {
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let hanging = Collector::start_hanging().await;
    for url in [format!("http://{free}"), hanging.url.clone()] {
        let traced = Traced::start(&[("PARTWAY_OTLP_ENDPOINT", &url), ("OTEL_BSP_SCHEDULE_DELAY", "20")]);
        let lost = || metric(&traced.server, r#"partway_spans_total{outcome="Failed"}"#);
        let mut uploads = 0;
        let deadline = Deadline::new();
        // The first export has failed, and the server has said so.
        while lost() == 0 || uploads < 20 {
            let id = traced.create(&[], "a", 10).await;
            let path = format!("/uploads/sessions/{id}/parts/1");
            assert_eq!(traced.send("PUT", &path, &[], "0123456789").await.status(), 201);
            uploads += 1;
            deadline.wait_for("a failed export");
        }
        assert!(traced.log().contains("they are lost"));
        let stopping = Instant::now();
        let log = traced.stop();
        assert!(stopping.elapsed().as_secs() < 15, "{:?}", stopping.elapsed());
        assert_eq!(log.matches("they are lost").count(), 1, "{log}");
    }
    assert!(hanging.requests() > 0);
}

/// More spans than the queue has room for, while the collector does not answer.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn spans_that_have_no_room_in_the_queue_are_counted() {
    let hanging = Collector::start_hanging().await;
    let traced = Traced::start(&[("PARTWAY_OTLP_ENDPOINT", &hanging.url)]);
    let dropped = || metric(&traced.server, r#"partway_spans_total{outcome="Dropped"}"#);
    let deadline = Deadline::new();
    while dropped() == 0 {
        for _ in 0..500 {
            assert_eq!(traced.send("GET", "/health", &[], "").await.status(), 200);
        }
        deadline.wait_for("a full queue");
    }
    traced.stop();
}

#[test]
fn a_wrong_setting_is_refused_at_the_start() {
    let refused = |name: &str, value: &str| {
        let output = Cli::new(&["config", "check"]).env(name, value).run();
        assert!(!output.status.success());
        String::from_utf8(output.stderr).unwrap()
    };
    for wrong in ["localhost:4318", "grpc://localhost:4317", "http://user:secret@localhost", "http://localhost/?a=b"] {
        let text = refused("PARTWAY_OTLP_ENDPOINT", wrong);
        assert!(text.contains("otlp_endpoint") && !text.contains("secret"), "{text}");
    }
    for wrong in ["1.5", "-1", "NaN", "much"] {
        let text = refused("PARTWAY_OTLP_SAMPLE_RATIO", wrong);
        assert!(text.contains("otlp_sample_ratio"), "{text}");
    }
}

fn metric(server: &Server, name: &str) -> u64 {
    let (status, text) = server.get("/metrics");
    assert_eq!(status, 200);
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ').map(str::to_owned));
    line.unwrap().parse().unwrap()
}

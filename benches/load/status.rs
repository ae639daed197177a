//! Measures status reads, and a bare server's reads of the same row as the floor.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Context, bail, ensure};
use serde_json::json;
use tokio::runtime::Runtime;

use crate::{
    Effort,
    http::{self, request, send},
    report::{self, Measured, Sample},
    seed::{Pattern, Seeded, seed},
    server::Server,
};

/// The query with which a client resumes.
pub(crate) const QUERY: &str = "query Progress($id: ID!) { uploadSession(id: $id) { status totalParts completedParts \
    receivedParts { first last } } }";
const CONNECTIONS: usize = 32;

/// The same request to both servers.
struct Case {
    name: String,
    floor: Vec<u8>,
    partway: Vec<u8>,
    /// The status with which Partway must answer. The floor always answers 200.
    status: u16,
}

/// Measures on one database: PostgreSQL if there is a URL, else SQLite.
pub(crate) fn run(runtime: &Runtime, work: &Path, database: Option<&str>, effort: &Effort) -> anyhow::Result<()> {
    let (name, suite) = match database {
        Some(_) => ("PostgreSQL", "status-postgres"),
        None => ("SQLite", "status-sqlite"),
    };
    let (data, ranges) = (work.join(suite), work.join(suite).join("ranges.json"));
    // The sessions have no bytes, so a sweep would end them.
    let mut settings = vec![("PARTWAY_SWEEP_INTERVAL", "1d")];
    settings.extend(database.map(|url| ("PARTWAY_DATABASE", url)));
    let partway = Server::partway(&data, &settings)?;
    wait_for_first_sweep(&partway)?;
    let file = data.join("partway.db");
    let target = database.or(file.to_str()).context("a path that is text")?;
    let seeded = runtime.block_on(seed(target, &ranges))?;
    let floor = Server::floor(&[target, ranges.to_str().context("a path that is text")?])?;
    let cases = cases(&seeded, &partway.authorization());
    for case in &cases {
        check(case, &floor, &partway)?;
    }
    let mut measured: Vec<_> = cases.iter().map(|case| Measured::new(suite, &case.name)).collect();
    // The first round warms the caches and does not count.
    for round in 0..=effort.rounds {
        for (case, measured) in cases.iter().zip(&mut measured) {
            let floor = sample(&floor, &case.floor, 200, effort.duration)?;
            let partway = sample(&partway, &case.partway, case.status, effort.duration)?;
            if round > 0 {
                measured.floor.push(floor);
                measured.partway.push(partway);
            }
        }
    }
    show(name, &measured);
    report::save(suite, &measured)
}

/// Waits until the sweep that begins at the start has ended.
fn wait_for_first_sweep(partway: &Server) -> anyhow::Result<()> {
    const LONGEST: Duration = Duration::from_secs(10);
    let begun = Instant::now();
    let metrics = request("GET", "/metrics", &[("Authorization", &partway.authorization())], &[]);
    while begun.elapsed() < LONGEST {
        let answer = send(&partway.address, &metrics)?;
        if String::from_utf8_lossy(&answer.body).contains("partway_sweeps_total{outcome=\"Complete\"} 1") {
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    bail!("no sweep has ended {LONGEST:?} after the start")
}

fn cases(seeded: &[Seeded], authorization: &str) -> Vec<Case> {
    let token = ("Authorization", authorization);
    let get = |path: &str| request("GET", path, &[], &[]);
    let mut cases = Vec::new();
    for Seeded { id, parts, pattern } in seeded.iter().take(8) {
        if (*parts, *pattern) == (1, Pattern::EveryOther) {
            continue;
        }
        let of = match pattern {
            Pattern::FirstHalf => format!("first half of {parts} parts"),
            Pattern::EveryOther => format!("every other of {parts} parts"),
        };
        cases.push(Case {
            name: format!("REST, {of}"),
            floor: get(&format!("/rest/{id}")),
            partway: request("GET", &format!("/uploads/sessions/{id}"), &[token], &[]),
            status: 200,
        });
        let body = json!({ "query": QUERY, "variables": { "id": id } }).to_string();
        let json = ("Content-Type", "application/json");
        cases.push(Case {
            name: format!("GraphQL, {of}"),
            floor: get(&format!("/graphql/{id}")),
            partway: request("POST", "/graphql", &[token, json], body.as_bytes()),
            status: 200,
        });
        // A session that has its only part is full: `HEAD` is 423 until it is finalized.
        if *parts > 1 {
            let tus = ("Tus-Resumable", "1.0.0");
            cases.push(Case {
                name: format!("tus HEAD, {of}"),
                floor: get(&format!("/rest/{id}")),
                partway: request("HEAD", &format!("/uploads/tus/{id}"), &[token, tus], &[]),
                status: 200,
            });
        }
        if *pattern == Pattern::FirstHalf {
            let version = format!("\"{}\"", parts.div_ceil(2) + 1);
            cases.push(Case {
                name: format!("304, {of}"),
                floor: get(&format!("/rest/{id}")),
                partway: request("GET", &format!("/uploads/sessions/{id}"), &[token, ("If-None-Match", &version)], &[]),
                status: 304,
            });
        }
    }
    cases.push(Case {
        name: "list of 50 sessions".to_owned(),
        floor: get("/list"),
        partway: request("GET", "/uploads/sessions?limit=50", &[token], &[]),
        status: 200,
    });
    cases.sort_by_key(|case| case.name.split(',').next().map(str::len));
    cases
}

/// Checks that both servers give the same answer. Otherwise one of them would not do the same work.
fn check(case: &Case, floor: &Server, partway: &Server) -> anyhow::Result<()> {
    let (bare, answer) = (send(&floor.address, &case.floor)?, send(&partway.address, &case.partway)?);
    ensure!(bare.status == 200 && answer.status == case.status, "{}: {} {}", case.name, bare.status, answer.status);
    if case.status == 200 && !answer.body.is_empty() {
        ensure!(bare.json()? == answer.json()?, "{}: the answers differ", case.name);
    }
    if case.name.starts_with("GraphQL, first half of 10000 ") {
        let bytes = answer.head_bytes + answer.body.len();
        println!("GraphQL, answer on the wire: {bytes} bytes, {} of them the body", answer.body.len());
    }
    Ok(())
}

#[expect(clippy::cast_precision_loss, reason = "counts far below 2^52")]
fn sample(server: &Server, request: &[u8], status: u16, duration: Duration) -> anyhow::Result<Sample> {
    let before = server.cpu_us()?;
    let load = http::repeat(&server.address, request, status, CONNECTIONS, duration)?;
    let requests = load.requests() as f64;
    Ok(Sample {
        per_second: requests / load.seconds,
        cpu_us: (server.cpu_us()? - before) / requests,
        p50_us: load.percentile(50).as_secs_f64() * 1e6,
        p99_us: load.percentile(99).as_secs_f64() * 1e6,
        peak_mib: server.peak_memory()? as f64 / f64::from(1 << 20),
    })
}

fn show(name: &str, measured: &[Measured]) {
    let head = ["case", "CPU, µs", "floor, µs", "ratio", "requests/s", "p50, µs", "p99/p50"];
    let rows = measured.iter().map(|case| {
        vec![
            case.case.clone(),
            format!("{:.0}", case.partway(|s| s.cpu_us)),
            format!("{:.0}", case.floor(|s| s.cpu_us)),
            format!("**{:.2}**", case.ratio(|s| s.cpu_us)),
            format!("{:.0}", case.partway(|s| s.per_second)),
            format!("{:.0}", case.partway(|s| s.p50_us)),
            format!("{:.1}", case.partway(|s| s.p99_us / s.p50_us)),
        ]
    });
    report::table(&format!("Status on {name}: server CPU per request"), &head, rows);
}

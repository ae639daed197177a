//! Measures whether operations cost more with many sessions: the same server on a small and on a large database.
//!
//! Owns the operations, and their comparison. Both databases have the same schema, the same token and the same kind of rows, and
//! both servers run at the same time; each round measures one after the other. Does not own the rows: those are in `growth_seed`.

use std::{
    path::Path,
    sync::atomic::{AtomicUsize, Ordering},
    time::{Duration, Instant},
};

use anyhow::{Context, ensure};
use serde_json::json;
use tokio::runtime::Runtime;
use uuid::Uuid;

use crate::{
    Effort,
    growth_seed::{Database, FILE_BYTES, NAME, PART_BYTES, fill, remove_new, session_id, templates},
    http::{Connection, parallel, request},
    report::{self, Measured, Sample, median},
    seed::with_schema,
    server::Server,
};

const CONNECTIONS: usize = 4;
/// How often each server sweeps while the sweep is measured.
const SWEEPS_PER_SECOND: u32 = 20;

/// How many sessions are read again and again. Both databases have them, and a server keeps their states in memory.
const READ_AGAIN: u64 = 99;

/// How many sessions a database has.
pub(crate) struct Size {
    /// Copies of the open session, all of one owner. The template is one more.
    pub(crate) open: u64,
    /// Copies of the complete session, of many owners. All are older than the open ones.
    pub(crate) ended: u64,
}

/// A database with its server's data folder.
struct Side<'a> {
    data: &'a Path,
    target: String,
    settings: Vec<(&'a str, &'a str)>,
    size: Size,
    templates: [Uuid; 2],
}

/// One operation.
struct Case {
    name: &'static str,
    status: u16,
    /// Whether it creates sessions, which are removed after each round.
    creates: bool,
    /// The request with this number, to a server with this `Authorization` header.
    request: fn(&Size, &str, usize) -> Vec<u8>,
}

/// Measures on SQLite, and on PostgreSQL if there is a URL.
pub(crate) fn run(runtime: &Runtime, work: &Path, postgres: Option<&str>, effort: &Effort) -> anyhow::Result<()> {
    compare(runtime, &work.join("growth-sqlite"), ("growth-sqlite", "SQLite"), None, effort)?;
    let Some(url) = postgres else {
        println!("\nPostgreSQL is not measured: TEST_DATABASE_URL is not set");
        return Ok(());
    };
    with_schema(runtime, url, |small| {
        // A second schema, beside the first one.
        let large = small.replace("search_path]=bench_", "search_path]=bench_large_");
        let schema = large.rsplit('=').next().context("a schema")?;
        let execute =
            |statement: String| runtime.block_on(async { Database::open(url).await?.execute(&statement).await });
        execute(format!("CREATE SCHEMA {schema}"))?;
        let suite = ("growth-postgres", "PostgreSQL");
        let done = compare(runtime, &work.join("growth-postgres"), suite, Some([small, &large]), effort);
        execute(format!("DROP SCHEMA {schema} CASCADE"))?;
        done
    })
}

fn compare(
    runtime: &Runtime,
    work: &Path,
    (suite, name): (&'static str, &str),
    urls: Option<[&str; 2]>,
    effort: &Effort,
) -> anyhow::Result<()> {
    let part = PART_BYTES.to_string();
    let settings = |side: usize| {
        // No sweep while requests are measured, and no limit of sessions.
        let mut settings = vec![
            ("PARTWAY_CHUNK_SIZE", &*part),
            ("PARTWAY_MAX_OPEN_SESSIONS", "10000000"),
            ("PARTWAY_SWEEP_INTERVAL", "1h"),
        ];
        settings.extend(urls.map(|urls| ("PARTWAY_DATABASE", urls[side])));
        settings
    };
    let scale = effort.growth_scale;
    let sizes = [Size { open: 99, ended: 0 }, Size { open: 100_000 / scale - 1, ended: 900_000 / scale }];
    let folders = [work.join("small"), work.join("large")];
    let mut sides = Vec::new();
    for (at, (size, data)) in sizes.into_iter().zip(&folders).enumerate() {
        let file = data.join("partway.db");
        let target = urls.map(|urls| urls[at]).or(file.to_str()).context("a path that is text")?.to_owned();
        let templates = templates(&Server::partway(data, &settings(at))?)?;
        let (start, files) = (Instant::now(), data.join("files"));
        runtime.block_on(async { fill(&mut Database::open(&target).await?, &files, templates, &size).await })?;
        println!("{name}: {} sessions in {:.0} s", size.open + 1 + size.ended, start.elapsed().as_secs_f64());
        sides.push(Side { data, target, settings: settings(at), size, templates });
    }
    let [small, large] = &*sides else { unreachable!("two sides") };
    let mut all = requests(runtime, suite, [small, large], effort)?;
    all.push(sweeps(suite, [small, large], effort)?);
    all.extend(starts(suite, [small, large], effort)?);
    show(&format!("{name}: {} and {} sessions", small.size.open + 1, large.size.open + 1 + large.size.ended), &all);
    report::save(suite, &all)
}

const fn case(name: &'static str, request: fn(&Size, &str, usize) -> Vec<u8>) -> Case {
    Case { name, status: 200, creates: false, request }
}

static CASES: [Case; 10] = [
    Case { status: 201, creates: true, ..case("create", |_, token, _| create(token, &[])) },
    Case {
        status: 201,
        creates: true,
        ..case("create with an idempotency key", |_, token, _| {
            create(token, &[("Idempotency-Key", &Uuid::now_v7().to_string())])
        })
    },
    case("status, in memory", |size, token, n| status(size, token, n as u64 % READ_AGAIN)),
    case("list, first page", |_, token, _| get(token, "?limit=50")),
    case("list, a page in the middle", |size, token, _| {
        get(token, &format!("?limit=50&after={}", session_id(size.ended + size.open / 2 + 1)))
    }),
    case("list by status", |_, token, _| get(token, "?limit=50&status=IN_PROGRESS")),
    case("search, all open sessions match", |_, token, _| search(token, NAME, "IN_PROGRESS")),
    case("search, nothing found", |_, token, _| search(token, "new.bin", "IN_PROGRESS")),
    case("search, other sessions of this name", |_, token, _| search(token, NAME, "COMPLETE")),
    // A token that is not valid is not cached, so each request checks it in the database.
    Case { status: 401, ..case("check of a token", |_, _, n| get(&format!("Bearer pw_{n:064x}"), "?limit=1")) },
];

/// The status of an open session. The numbers count in an order in which neighbours are far apart.
fn status(size: &Size, authorization: &str, number: u64) -> Vec<u8> {
    let number = number.wrapping_mul(7_919) % size.open;
    get(authorization, &format!("/{}", session_id(size.ended + 1 + number)))
}

fn get(authorization: &str, path: &str) -> Vec<u8> {
    request("GET", &format!("/uploads/sessions{path}"), &[("Authorization", authorization)], &[])
}

/// The search of `partway upload`, as in `src/client`.
fn search(authorization: &str, name: &str, status: &str) -> Vec<u8> {
    get(authorization, &format!("?status={status}&original_filename={name}&total_size_bytes={FILE_BYTES}&limit=100"))
}

fn create(authorization: &str, headers: &[(&str, &str)]) -> Vec<u8> {
    let body = json!({ "original_filename": NAME, "total_size_bytes": FILE_BYTES }).to_string();
    let headers = [headers, &[("Authorization", authorization), ("Content-Type", "application/json")]].concat();
    request("POST", "/uploads/sessions", &headers, body.as_bytes())
}

fn requests(
    runtime: &Runtime,
    suite: &'static str,
    sides: [&Side; 2],
    effort: &Effort,
) -> anyhow::Result<Vec<Measured>> {
    let [small, large] = sides.map(|side| Server::partway(side.data, &side.settings));
    let (small, large) = (small?, large?);
    let mut measured: Vec<_> = CASES.iter().map(|case| Measured::new(suite, case.name)).collect();
    // The first round warms the caches and does not count.
    for round in 0..=effort.rounds {
        for (case, measured) in CASES.iter().zip(&mut measured) {
            for (side, server, samples) in
                [(sides[0], &small, &mut measured.floor), (sides[1], &large, &mut measured.partway)]
            {
                let sample = sample(server, case, &side.size, effort.duration)?;
                if round > 0 {
                    samples.push(sample);
                }
                if case.creates {
                    let remove = async { remove_new(&mut Database::open(&side.target).await?, side.templates).await };
                    runtime.block_on(remove)?;
                }
            }
        }
    }
    Ok(measured)
}

#[expect(clippy::cast_precision_loss, reason = "counts far below 2^52")]
fn sample(server: &Server, case: &Case, size: &Size, duration: Duration) -> anyhow::Result<Sample> {
    let (authorization, next) = (server.authorization(), AtomicUsize::new(0));
    let before = server.cpu_us()?;
    let load = parallel(CONNECTIONS, |_| {
        let (mut connection, mut latencies) = (Connection::open(&server.address)?, Vec::new());
        let end = Instant::now() + duration;
        loop {
            let request = (case.request)(size, &authorization, next.fetch_add(1, Ordering::Relaxed));
            let sent = Instant::now();
            if sent >= end {
                return Ok(latencies);
            }
            let answer = connection.send(&[&request])?;
            let body = || String::from_utf8_lossy(&answer.body).into_owned();
            ensure!(answer.status == case.status, "{}: {} {}", case.name, answer.status, body());
            latencies.push(sent.elapsed());
        }
    })?;
    let requests = load.requests() as f64;
    Ok(Sample {
        per_second: requests / load.seconds,
        cpu_us: (server.cpu_us()? - before) / requests,
        p50_us: load.percentile(50).as_secs_f64() * 1e6,
        p99_us: load.percentile(99).as_secs_f64() * 1e6,
        peak_mib: f64::NAN,
    })
}

/// The CPU time of a server without requests, for each sweep. Both servers sweep at the same time.
fn sweeps(suite: &'static str, sides: [&Side; 2], effort: &Effort) -> anyhow::Result<Measured> {
    let interval = format!("{}ms", 1_000 / SWEEPS_PER_SECOND);
    let start = |side: &Side| {
        let settings = [&*side.settings, &[("PARTWAY_SWEEP_INTERVAL", &*interval)]].concat();
        Server::partway(side.data, &settings)
    };
    let servers = [start(sides[0])?, start(sides[1])?];
    let mut measured = Measured::new(suite, "sweep, without requests");
    for round in 0..=effort.rounds {
        let (before, began) = ([servers[0].cpu_us()?, servers[1].cpu_us()?], Instant::now());
        std::thread::sleep(effort.duration * 5);
        let sweeps = began.elapsed().as_secs_f64() * f64::from(SWEEPS_PER_SECOND);
        for (at, samples) in [&mut measured.floor, &mut measured.partway].into_iter().enumerate() {
            if round > 0 {
                samples.push(without_latency((servers[at].cpu_us()? - before[at]) / sweeps));
            }
        }
    }
    Ok(measured)
}

/// The time until a server listens, as latency; and the first status of sessions, which the server reads from the database.
fn starts(suite: &'static str, sides: [&Side; 2], effort: &Effort) -> anyhow::Result<[Measured; 2]> {
    let mut start = Measured::new(suite, "start, until it listens");
    let mut first = Measured::new(suite, "status, first read after a start");
    for _ in 0..effort.rounds * 3 {
        let starts = [&mut start.floor, &mut start.partway].into_iter();
        let firsts = [&mut first.floor, &mut first.partway];
        for ((side, starts), firsts) in sides.iter().zip(starts).zip(firsts) {
            let began = Instant::now();
            let server = Server::partway(side.data, &side.settings)?;
            let p50_us = began.elapsed().as_secs_f64() * 1e6;
            starts.push(Sample { p50_us, ..without_latency(server.cpu_us()?) });
            firsts.push(first_reads(&server, &side.size)?);
        }
    }
    Ok([start, first])
}

/// The latency of the status of sessions that the server has not read before. They take too little CPU time to measure it.
fn first_reads(server: &Server, size: &Size) -> anyhow::Result<Sample> {
    let authorization = server.authorization();
    let reads = parallel(1, |_| {
        let mut connection = Connection::open(&server.address)?;
        let mut read = |number| {
            let (request, sent) = (status(size, &authorization, number), Instant::now());
            let answer = connection.send(&[&request])?;
            ensure!(answer.status == 200, "status: {}", answer.status);
            Ok(sent.elapsed())
        };
        (0..READ_AGAIN).map(&mut read).collect()
    })?;
    let [p50_us, p99_us] = [50, 99].map(|percent| reads.percentile(percent).as_secs_f64() * 1e6);
    Ok(Sample { p50_us, p99_us, ..without_latency(f64::NAN) })
}

fn without_latency(cpu_us: f64) -> Sample {
    Sample { per_second: f64::NAN, cpu_us, p50_us: f64::NAN, p99_us: f64::NAN, peak_mib: f64::NAN }
}

fn show(title: &str, measured: &[Measured]) {
    let head = ["operation", "CPU, µs", "large", "ratio", "p50, µs", "large", "ratio"];
    let text = |value: f64, digits: usize| match value.is_nan() {
        true => "-".to_owned(),
        false => format!("{value:.digits$}"),
    };
    let rows = measured.iter().map(|case| {
        let [cpu, p50] = [|s: &Sample| s.cpu_us, |s: &Sample| s.p50_us].map(|of| {
            // The starts have more rounds than values in pairs; the medians are compared.
            let (small, large) = (median(case.floor.iter().map(of)), median(case.partway.iter().map(of)));
            [text(small, 0), text(large, 0), text(case.ratio(of), 2)]
        });
        [vec![case.case.clone()], cpu.into(), p50.into()].concat()
    });
    report::table(title, &head, rows);
}

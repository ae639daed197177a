//! Measures how Partway and a bare sink receive large parts and many small parts, and how long finalize takes.

use std::{
    path::Path,
    sync::atomic::{AtomicBool, AtomicU32, Ordering},
    time::{Duration, Instant},
};

use anyhow::{Context, ensure};
use serde_json::json;

use crate::{
    Effort,
    http::{Connection, Load, parallel, request, send},
    report::{self, Measured, Sample, median},
    server::Server,
};

pub(crate) const MIB: u64 = 1 << 20;
/// The default size of a part, in MiB.
const PART_MIB: u64 = 8;
const SMALL: u64 = 64 * 1024;

/// One load of uploads.
#[derive(Clone, Copy)]
pub(crate) struct Upload {
    pub(crate) part_bytes: u64,
    pub(crate) parts_per_file: u32,
    pub(crate) files: u32,
    pub(crate) connections: usize,
}

impl Upload {
    fn total_bytes(self) -> u64 {
        self.part_bytes * u64::from(self.parts_per_file) * u64::from(self.files)
    }
}

/// A server that receives files.
pub(crate) trait Target: Sync {
    /// The status of the answer to a part.
    const RECEIVED: u16 = 201;

    /// What else the client does until `done`.
    fn meanwhile(&self, _files: &[String], _done: &AtomicBool) -> anyhow::Result<()> {
        Ok(())
    }

    fn server(&self) -> &Server;
    fn begin(&self, upload: Upload) -> anyhow::Result<Vec<String>>;
    fn put(&self, file: &str, number: u32, upload: Upload) -> Vec<u8>;
    /// Completes the file and returns how long that took.
    fn finish(&self, file: &str) -> anyhow::Result<Duration>;
    /// Deletes the file.
    fn remove(&self, file: &str) -> anyhow::Result<()>;
}

pub(crate) struct Sink(pub(crate) Server);

impl Target for Sink {
    fn server(&self) -> &Server {
        &self.0
    }

    fn begin(&self, upload: Upload) -> anyhow::Result<Vec<String>> {
        Ok((0..upload.files).map(|_| uuid::Uuid::now_v7().to_string()).collect())
    }

    fn put(&self, file: &str, number: u32, upload: Upload) -> Vec<u8> {
        let offset = u64::from(number - 1) * upload.part_bytes;
        request("PUT", &format!("/{file}/{offset}"), &[("Content-Length", &upload.part_bytes.to_string())], &[])
    }

    fn finish(&self, _: &str) -> anyhow::Result<Duration> {
        Ok(Duration::ZERO)
    }

    fn remove(&self, file: &str) -> anyhow::Result<()> {
        expect(&self.0, &request("DELETE", &format!("/{file}/0"), &[], &[]), 204).map(drop)
    }
}

struct Partway(Server);

impl Partway {
    fn request(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Vec<u8> {
        let authorization = self.0.authorization();
        let headers = [headers, &[("Authorization", &authorization)]].concat();
        request(method, &format!("/uploads/sessions{path}"), &headers, body)
    }
}

impl Target for Partway {
    fn server(&self) -> &Server {
        &self.0
    }

    fn begin(&self, upload: Upload) -> anyhow::Result<Vec<String>> {
        let size = upload.part_bytes * u64::from(upload.parts_per_file);
        let body = json!({ "original_filename": "bench.bin", "total_size_bytes": size }).to_string();
        let create = self.request("POST", "", &[("Content-Type", "application/json")], body.as_bytes());
        let id = |_| {
            let session = expect(&self.0, &create, 201)?;
            ensure!(session["total_parts"] == upload.parts_per_file, "{session}");
            Ok(session["session_id"].as_str().context("an id")?.to_owned())
        };
        (0..upload.files).map(id).collect()
    }

    fn put(&self, file: &str, number: u32, upload: Upload) -> Vec<u8> {
        let length = upload.part_bytes.to_string();
        self.request("PUT", &format!("/{file}/parts/{number}"), &[("Content-Length", &length)], &[])
    }

    fn finish(&self, file: &str) -> anyhow::Result<Duration> {
        let start = Instant::now();
        expect(&self.0, &self.request("POST", &format!("/{file}/finalize"), &[], &[]), 200)?;
        Ok(start.elapsed())
    }

    /// Does nothing: Partway has no route that deletes a stored file. The benchmark deletes the whole data folder.
    fn remove(&self, _: &str) -> anyhow::Result<()> {
        Ok(())
    }
}

fn expect(server: &Server, request: &[u8], status: u16) -> anyhow::Result<serde_json::Value> {
    let answer = send(&server.address, request)?;
    ensure!(answer.status == status, "{}: {}", answer.status, String::from_utf8_lossy(&answer.body));
    if answer.body.is_empty() { Ok(serde_json::Value::Null) } else { answer.json() }
}

/// Sends the parts of all files, each file's parts in order, and completes the files. The CPU time includes both. Also
/// returns how long completing took.
#[expect(clippy::cast_precision_loss, reason = "counts and sizes far below 2^52")]
pub(crate) fn sample<T: Target>(target: &T, upload: Upload, bytes: &[u8]) -> anyhow::Result<(Sample, Duration)> {
    let server = target.server();
    let files = target.begin(upload)?;
    server.reset_peak_memory()?;
    let (cpu, next) = (server.cpu_us()?, AtomicU32::new(0));
    let done = AtomicBool::new(false);
    let load: Load = std::thread::scope(|scope| {
        let meanwhile = scope.spawn(|| target.meanwhile(&files, &done));
        let load = parallel(upload.connections, |_| {
            let (mut connection, mut latencies) = (Connection::open(&server.address)?, Vec::new());
            loop {
                // Part 1 of every file, then part 2 of every file, and so on.
                let n = next.fetch_add(1, Ordering::Relaxed);
                let (number, file) = (n / upload.files + 1, n % upload.files);
                if number > upload.parts_per_file {
                    return Ok(latencies);
                }
                let head = target.put(&files[file as usize], number, upload);
                let sent = Instant::now();
                let answer = connection.send(&[&head, bytes])?;
                ensure!(answer.status == T::RECEIVED, "{}: {}", answer.status, String::from_utf8_lossy(&answer.body));
                latencies.push(sent.elapsed());
            }
        });
        done.store(true, Ordering::Relaxed);
        meanwhile.join().map_err(|_| anyhow::anyhow!("a client panicked"))??;
        load
    })?;
    let mut finishing = Duration::ZERO;
    for file in &files {
        finishing += target.finish(file)?;
    }
    let mib = upload.total_bytes() as f64 / MIB as f64;
    let sample = Sample {
        per_second: mib / load.seconds,
        cpu_us: (server.cpu_us()? - cpu) / mib,
        p50_us: load.percentile(50).as_secs_f64() * 1e6,
        p99_us: load.percentile(99).as_secs_f64() * 1e6,
        peak_mib: server.peak_memory()? as f64 / MIB as f64,
    };
    for file in &files {
        target.remove(file)?;
    }
    Ok((sample, finishing))
}

/// Measures Partway with `settings` and the sink. Each round uses a new data folder, so that the disk does not fill up.
pub(crate) fn compare(
    work: &Path,
    case: &str,
    settings: &[(&str, &str)],
    floor: &str,
    upload: Upload,
    effort: &Effort,
) -> anyhow::Result<(Measured, Vec<Duration>)> {
    let mut bytes = vec![0; usize::try_from(upload.part_bytes)?];
    getrandom::fill(&mut bytes)?;
    let (mut measured, mut finishing) = (Measured::new("ingest", case), Vec::new());
    let chunk = upload.part_bytes.to_string();
    let settings = [settings, &[("PARTWAY_CHUNK_SIZE", &*chunk), ("PARTWAY_MAX_PARTS", "100000")]].concat();
    for _ in 0..effort.uploads {
        let folder = tempfile::tempdir_in(work)?;
        let path = folder.path().join("sink");
        let sink = Sink(Server::floor(&[floor, path.to_str().context("a path that is text")?])?);
        measured.floor.push(sample(&sink, upload, &bytes)?.0);
        drop(sink);
        let partway = Partway(Server::partway(&folder.path().join("partway"), &settings)?);
        let (sample, took) = sample(&partway, upload, &bytes)?;
        measured.partway.push(sample);
        finishing.push(took);
    }
    Ok((measured, finishing))
}

/// Measures large parts: throughput, CPU time and memory.
pub(crate) fn large(work: &Path, effort: &Effort) -> anyhow::Result<()> {
    let upload = |connections, part_mib: u64| Upload {
        part_bytes: part_mib * MIB,
        parts_per_file: u32::try_from(effort.file_mib / part_mib).unwrap_or(u32::MAX),
        files: 1,
        connections,
    };
    let mut all = Vec::new();
    for (case, settings, upload) in [
        ("4 connections", &[][..], upload(4, PART_MIB)),
        ("1 connection", &[][..], upload(1, PART_MIB)),
        ("64 connections", &[][..], upload(64, PART_MIB)),
        ("4 connections, parts of 64 MiB", &[][..], upload(4, 64)),
        ("4 connections, file_sha256 = \"always\"", &[("PARTWAY_FILE_SHA256", "always")][..], upload(4, PART_MIB)),
        ("4 connections, sync = \"os\"", &[("PARTWAY_SYNC", "os")][..], upload(4, PART_MIB)),
    ] {
        let (measured, finishing) = compare(work, case, settings, "sink", upload, effort)?;
        all.push((measured, finishing));
    }
    let head: Vec<_> = ["upload"].iter().chain(&report::THROUGHPUT).chain(&["finalize, ms"]).copied().collect();
    let rows = all.iter().map(|(case, finishing)| {
        let mut cells = report::throughput(case);
        cells.push(format!("{:.0}", median(finishing.iter().map(|took| took.as_secs_f64() * 1e3))));
        cells
    });
    report::table(&format!("A file of {} MiB in parts of {PART_MIB} MiB", effort.file_mib), &head, rows);
    report::save("ingest", &all)
}

/// Measures many small parts, each of which the server acknowledges when it is durable.
pub(crate) fn small(work: &Path, effort: &Effort) -> anyhow::Result<()> {
    let parts = effort.small_parts;
    let mut all = Vec::new();
    for (case, files) in [("one session", 1), ("32 sessions", 32)] {
        let upload = Upload { part_bytes: SMALL, parts_per_file: parts / files, files, connections: 32 };
        all.push(compare(work, case, &[], "commits", upload, effort)?.0);
    }
    let per_part = MIB / SMALL;
    #[expect(clippy::cast_precision_loss, reason = "16")]
    let parts_per_second = |sample: &Sample| sample.per_second * per_part as f64;
    let head = ["64 KiB parts, 32 connections", "parts/s", "one commit a part", "ratio", "p50, ms", "p99, ms"];
    let rows = all.iter().map(|case| {
        vec![
            case.case.clone(),
            format!("{:.0}", case.partway(parts_per_second)),
            format!("{:.0}", case.floor(parts_per_second)),
            format!("**{:.2}**", case.ratio(|s| s.per_second)),
            format!("{:.1}", case.partway(|s| s.p50_us / 1e3)),
            format!("{:.1}", case.partway(|s| s.p99_us / 1e3)),
        ]
    });
    report::table("Small parts", &head, rows);
    report::save("small-parts", &all)
}

/// Measures how long a server takes to start on an existing database.
pub(crate) fn start(work: &Path, effort: &Effort) -> anyhow::Result<()> {
    let data = work.join("start");
    drop(Server::partway(&data, &[])?);
    let times = (0..effort.uploads * 4).map(|_| {
        let start = Instant::now();
        Server::partway(&data, &[]).map(|_| start.elapsed().as_secs_f64() * 1e3)
    });
    let times = times.collect::<anyhow::Result<Vec<_>>>()?;
    println!("\nready after {:.0} ms (median of {})", median(times.iter().copied()), times.len());
    report::save("start", &times)
}

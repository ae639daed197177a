//! Measures whether status reads and 64 concurrent parts of the same session slow each other down.

use std::{
    path::Path,
    sync::atomic::{AtomicBool, AtomicU32, Ordering},
    thread::sleep,
    time::{Duration, Instant},
};

use anyhow::{Context, ensure};
use serde_json::json;

use crate::{
    Effort,
    http::{Connection, Load, parallel, request, send},
    report::{self, median},
    server::Server,
};

const SENDERS: usize = 64;
const PART_BYTES: usize = 1 << 20;
/// A sender sends its part in pieces, at about 1 MiB per second.
const PIECE_BYTES: usize = 64 * 1024;
const PIECE_EVERY: Duration = Duration::from_millis(62);
const READ_EVERY: Duration = Duration::from_millis(5);

/// The p50 and p99 latency of one kind of request in one phase, in microseconds.
type Latency = (f64, f64);

#[derive(Default, serde::Serialize)]
struct Phases {
    /// The floor: a bare server that hashes and syncs the same parts and answers a read with one word.
    bare_idle: Vec<Latency>,
    bare_busy: Vec<Latency>,
    status_idle: Vec<Latency>,
    status_busy: Vec<Latency>,
    acknowledged: Vec<Latency>,
    acknowledged_during_reads: Vec<Latency>,
}

pub(crate) fn run(work: &Path, effort: &Effort) -> anyhow::Result<()> {
    let chunk = PART_BYTES.to_string();
    let partway = Server::partway(&work.join("busy"), &[("PARTWAY_CHUNK_SIZE", &chunk)])?;
    let mut phases = Phases::default();
    for round in 0..effort.rounds {
        let folder = work.join(format!("bare-{round}"));
        let bare = Server::floor(&["sink", folder.to_str().context("a path that is text")?])?;
        let bare = Upload::bare(&bare);
        phases.bare_idle.push(bare.read_for(effort.duration * 3)?);
        let mut reads = (0.0, 0.0);
        bare.send_for(effort.duration * 3, || {
            reads = bare.read_for(effort.duration * 3)?;
            Ok(())
        })?;
        phases.bare_busy.push(reads);
        let session = Upload::create(&partway)?;
        phases.status_idle.push(session.read_for(effort.duration * 3)?);
        phases.acknowledged.push(session.send_for(effort.duration * 3, || Ok(()))?);
        let during_reads = session.send_for(effort.duration * 3, || {
            reads = session.read_for(effort.duration * 3)?;
            Ok(())
        })?;
        phases.acknowledged_during_reads.push(during_reads);
        phases.status_busy.push(reads);
    }
    let rows = [
        ("one word of a bare server, idle", &phases.bare_idle),
        ("the same, while 64 parts arrive", &phases.bare_busy),
        ("status, idle", &phases.status_idle),
        ("status, while 64 parts arrive", &phases.status_busy),
        ("last byte to acknowledgement", &phases.acknowledged),
        ("the same, during status reads", &phases.acknowledged_during_reads),
    ];
    let rows = rows.into_iter().map(|(what, latencies)| {
        let of = |pick: fn(&Latency) -> f64| format!("{:.2}", median(latencies.iter().map(pick)) / 1e3);
        vec![what.to_owned(), of(|latency| latency.0), of(|latency| latency.1)]
    });
    report::table("Status and parts of one session at the same time", &["", "p50, ms", "p99, ms"], rows);
    report::save("busy", &phases)
}

struct Upload<'a> {
    server: &'a Server,
    status: String,
    part: Box<dyn Fn(u32) -> String + Sync>,
    next_part: AtomicU32,
}

impl<'a> Upload<'a> {
    fn bare(server: &'a Server) -> Self {
        let part = |number| format!("/bench.bin/{}", u64::from(number) * PART_BYTES as u64);
        Self { server, status: "/".to_owned(), part: Box::new(part), next_part: AtomicU32::new(0) }
    }

    fn create(server: &'a Server) -> anyhow::Result<Self> {
        let body = json!({ "original_filename": "bench.bin", "total_size_bytes": PART_BYTES * 9_000 }).to_string();
        let headers = [("Authorization", &*server.authorization()), ("Content-Type", "application/json")];
        let created = send(&server.address, &request("POST", "/uploads/sessions", &headers, body.as_bytes()))?;
        let status = format!("/uploads/sessions/{}", created.json()?["session_id"].as_str().unwrap_or_default());
        let path = status.clone();
        let part = move |number| format!("{path}/parts/{number}");
        Ok(Self { server, status, part: Box::new(part), next_part: AtomicU32::new(1) })
    }

    /// Reads the status every `READ_EVERY`.
    fn read_for(&self, duration: Duration) -> anyhow::Result<Latency> {
        let status = request("GET", &self.status, &[("Authorization", &self.server.authorization())], &[]);
        let mut connection = Connection::open(&self.server.address)?;
        let (end, mut latencies) = (Instant::now() + duration, Vec::new());
        while Instant::now() < end {
            let start = Instant::now();
            ensure!(connection.send(&[&status])?.status == 200, "no status");
            latencies.push(start.elapsed());
            sleep(READ_EVERY);
        }
        latencies.sort_unstable();
        Ok(latency(&Load { latencies, ..Load::default() }))
    }

    /// Sends parts slowly over 64 connections. Runs `meanwhile` in parallel.
    fn send_for(
        &self,
        duration: Duration,
        meanwhile: impl FnOnce() -> anyhow::Result<()> + Send,
    ) -> anyhow::Result<Latency> {
        let (stop, mut meanwhile_done) = (AtomicBool::new(false), Ok(()));
        let load = std::thread::scope(|scope| {
            scope.spawn(|| {
                let end = Instant::now() + duration;
                meanwhile_done = meanwhile();
                sleep(end.saturating_duration_since(Instant::now()));
                stop.store(true, Ordering::Relaxed);
            });
            parallel(SENDERS, |sender| self.send_parts(sender, &stop))
        })?;
        meanwhile_done?;
        Ok(latency(&load))
    }

    fn send_parts(&self, sender: usize, stop: &AtomicBool) -> anyhow::Result<Vec<Duration>> {
        let (mut connection, mut latencies) = (Connection::open(&self.server.address)?, Vec::new());
        let (piece, length) = (vec![7; PIECE_BYTES], PART_BYTES.to_string());
        let headers = [("Authorization", &*self.server.authorization()), ("Content-Length", &length)];
        sleep(PIECE_EVERY * u32::try_from(sender)? / u32::try_from(SENDERS)?);
        while !stop.load(Ordering::Relaxed) {
            let number = self.next_part.fetch_add(1, Ordering::Relaxed);
            connection.write(&request("PUT", &(self.part)(number), &headers, &[]))?;
            for _ in 1..PART_BYTES / PIECE_BYTES {
                connection.write(&piece)?;
                sleep(PIECE_EVERY);
            }
            let last = Instant::now();
            let answer = connection.send(&[&piece])?;
            ensure!(answer.status == 201, "{}: {}", answer.status, String::from_utf8_lossy(&answer.body));
            latencies.push(last.elapsed());
        }
        Ok(latencies)
    }
}

fn latency(load: &Load) -> Latency {
    (load.percentile(50).as_secs_f64() * 1e6, load.percentile(99).as_secs_f64() * 1e6)
}

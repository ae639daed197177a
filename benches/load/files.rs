//! Measures small files: each comes in one request, and is durable and recorded before its answer. Has the two floors too.

use std::{
    fs::{File, OpenOptions},
    io::{self, Write},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Instant,
};

use anyhow::{Context, ensure};
use axum::{Router, body::Bytes, extract, http::StatusCode, routing::post};
use sha2::{Digest, Sha256};
use sqlx::{
    SqlitePool,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous},
};
use tokio::sync::{mpsc, oneshot};

use crate::{
    Effort,
    http::{Connection, parallel, request},
    ingest::MIB,
    report::{self, Measured, Sample},
    server::Server,
};

const FILE_BYTES: usize = 16 * 1024;
const CONNECTIONS: usize = 32;

/// Stores `files` files.
#[expect(clippy::cast_precision_loss, reason = "counts and sizes far below 2^52")]
fn sample(server: &Server, head: &[u8], files: u32) -> anyhow::Result<Sample> {
    let mut bytes = vec![0; FILE_BYTES];
    getrandom::fill(&mut bytes)?;
    server.reset_peak_memory()?;
    let (cpu, next) = (server.cpu_us()?, AtomicU32::new(0));
    let load = parallel(CONNECTIONS, |_| {
        let (mut connection, mut latencies) = (Connection::open(&server.address)?, Vec::new());
        while next.fetch_add(1, Ordering::Relaxed) < files {
            let sent = Instant::now();
            let answer = connection.send(&[head, &bytes])?;
            ensure!(answer.status == 201, "{}: {}", answer.status, String::from_utf8_lossy(&answer.body));
            latencies.push(sent.elapsed());
        }
        Ok(latencies)
    })?;
    Ok(Sample {
        per_second: f64::from(files) / load.seconds,
        cpu_us: (server.cpu_us()? - cpu) / f64::from(files),
        p50_us: load.percentile(50).as_secs_f64() * 1e6,
        p99_us: load.percentile(99).as_secs_f64() * 1e6,
        peak_mib: server.peak_memory()? as f64 / MIB as f64,
    })
}

/// Measures Partway beside each floor. Each round uses new folders.
pub(crate) fn run(work: &Path, effort: &Effort) -> anyhow::Result<()> {
    let length = FILE_BYTES.to_string();
    let mut all = Vec::new();
    for (case, floor) in [("one commit a file", "files"), ("files that wait share a commit", "files-together")] {
        let mut measured = Measured::new("files", case);
        for _ in 0..effort.rounds {
            let folder = tempfile::tempdir_in(work)?;
            let path = folder.path().join("floor");
            let bare = Server::floor(&[floor, path.to_str().context("a path that is text")?])?;
            let head = request("POST", "/", &[("Content-Length", &length)], &[]);
            measured.floor.push(sample(&bare, &head, effort.small_files)?);
            drop(bare);
            let partway = Server::partway(&folder.path().join("partway"), &[])?;
            let headers = [("Authorization", &*partway.authorization()), ("Content-Length", &length)];
            let head = request("POST", "/files", &headers, &[]);
            measured.partway.push(sample(&partway, &head, effort.small_files)?);
        }
        all.push(measured);
    }
    let head = [
        "16 KiB files, 32 connections; the floor:",
        "files/s",
        "floor",
        "ratio",
        "CPU, µs",
        "floor",
        "p50, ms",
        "p99, ms",
    ];
    let rows = all.iter().map(|case| {
        vec![
            case.case.clone(),
            format!("{:.0}", case.partway(|s| s.per_second)),
            format!("{:.0}", case.floor(|s| s.per_second)),
            format!("**{:.2}**", case.ratio(|s| s.per_second)),
            format!("{:.0}", case.partway(|s| s.cpu_us)),
            format!("{:.0}", case.floor(|s| s.cpu_us)),
            format!("{:.1}", case.partway(|s| s.p50_us / 1e3)),
            format!("{:.1}", case.partway(|s| s.p99_us / 1e3)),
        ]
    });
    report::table("Small files", &head, rows);
    report::save("files", &all)
}

/// A row, and where to tell that it is committed.
type Waiting = (Vec<u8>, oneshot::Sender<()>);

struct Floor {
    folder: PathBuf,
    next: AtomicU32,
    database: SqlitePool,
    /// Takes the rows that share a commit.
    together: Option<mpsc::UnboundedSender<Waiting>>,
}

/// `floor files FOLDER` and `floor files-together FOLDER`: a bare server that writes each file, syncs it, and commits a row. The
/// second one commits all rows at once that wait for it. It also syncs the folder once for them, without which the name of a
/// new file need not be durable.
pub(crate) async fn serve(folder: &str, together: bool) -> anyhow::Result<()> {
    let folder = PathBuf::from(folder);
    std::fs::create_dir_all(&folder)?;
    let target = SqliteConnectOptions::new().filename(folder.join("files.db")).create_if_missing(true);
    let target = target.journal_mode(SqliteJournalMode::Wal).synchronous(SqliteSynchronous::Full);
    let options = SqlitePoolOptions::new().max_connections(1).test_before_acquire(false);
    let database = options.connect_with(target).await?;
    sqlx::query("CREATE TABLE file (name TEXT PRIMARY KEY, sha256 BLOB)").execute(&database).await?;
    let together = together.then(|| {
        let (sender, receiver) = mpsc::unbounded_channel();
        tokio::spawn(commit_together(folder.clone(), database.clone(), receiver));
        sender
    });
    let floor = Arc::new(Floor { folder, next: AtomicU32::new(0), database, together });
    super::floor::listen(Router::new().route("/", post(receive)).with_state(floor)).await
}

async fn receive(extract::State(floor): extract::State<Arc<Floor>>, body: Bytes) -> StatusCode {
    let sha256 = Sha256::digest(&body).to_vec();
    let path = floor.folder.join(floor.next.fetch_add(1, Ordering::Relaxed).to_string());
    let name = path.display().to_string();
    let written = tokio::task::spawn_blocking(move || -> io::Result<()> {
        let mut file = OpenOptions::new().write(true).create_new(true).open(path)?;
        file.write_all(&body)?;
        file.sync_data()
    });
    written.await.expect("no panic").expect("a disk that works");
    if let Some(together) = &floor.together {
        let (sender, committed) = oneshot::channel();
        together.send((sha256, sender)).expect("a running task");
        committed.await.expect("a commit");
    } else {
        let row = sqlx::query("INSERT INTO file VALUES (?, ?)").bind(name).bind(sha256);
        row.execute(&floor.database).await.expect("a new row");
    }
    StatusCode::CREATED
}

async fn commit_together(folder: PathBuf, database: SqlitePool, mut rows: mpsc::UnboundedReceiver<Waiting>) {
    let (mut batch, mut next) = (Vec::new(), 0_u64);
    while rows.recv_many(&mut batch, CONNECTIONS).await > 0 {
        let names = folder.clone();
        let synced = tokio::task::spawn_blocking(move || File::open(names)?.sync_all()).await;
        synced.expect("no panic").expect("a disk that works");
        let mut tx = database.begin().await.expect("a connection");
        for (sha256, _) in &batch {
            next += 1;
            let row = sqlx::query("INSERT INTO file VALUES (?, ?)").bind(next.to_string()).bind(sha256);
            row.execute(&mut *tx).await.expect("a new row");
        }
        tx.commit().await.expect("a commit");
        for (_, committed) in batch.drain(..) {
            committed.send(()).expect("a request that waits");
        }
    }
}

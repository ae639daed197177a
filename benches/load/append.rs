//! Measures appends: a client of tus that sends a file over one connection.

use std::{
    path::Path,
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, Instant},
};

use anyhow::{Context, ensure};

use crate::{
    Effort,
    http::{Connection, request, send},
    ingest::{MIB, Sink, Target, Upload, sample},
    report::{self, Measured},
    server::Server,
};

/// Partway, with a client of tus that appends.
struct Tus {
    server: Server,
    /// Whether another connection asks for the offset 1,000 times a second.
    asks: bool,
}

impl Tus {
    fn request(&self, method: &str, path: &str, headers: &[(&str, &str)]) -> Vec<u8> {
        let authorization = self.server.authorization();
        let headers = [headers, &[("Authorization", &authorization), ("Tus-Resumable", "1.0.0")]].concat();
        request(method, &format!("/uploads/tus{path}"), &headers, &[])
    }
}

impl Target for Tus {
    const RECEIVED: u16 = 204;

    fn meanwhile(&self, files: &[String], done: &AtomicBool) -> anyhow::Result<()> {
        if !self.asks {
            return Ok(());
        }
        let mut connection = Connection::open(&self.server.address)?;
        let head = self.request("HEAD", &format!("/{}", files[0]), &[]);
        let (start, mut asked) = (Instant::now(), 0);
        while !done.load(Ordering::Relaxed) {
            let answer = connection.send(&[&head])?;
            ensure!(answer.status == 200 || answer.status == 423, "{}", answer.status);
            asked += 1;
            std::thread::sleep((Duration::from_millis(1) * asked).saturating_sub(start.elapsed()));
        }
        println!("{:.0} HEAD/s", f64::from(asked) / start.elapsed().as_secs_f64());
        Ok(())
    }

    fn server(&self) -> &Server {
        &self.server
    }

    fn begin(&self, upload: Upload) -> anyhow::Result<Vec<String>> {
        let size = (upload.part_bytes * u64::from(upload.parts_per_file)).to_string();
        let create = self.request("POST", "", &[("Upload-Length", &size), ("Content-Length", "0")]);
        let id = |_| {
            let answer = send(&self.server.address, &create)?;
            ensure!(answer.status == 201, "{}", answer.status);
            let location = answer.header("location").context("a location")?;
            Ok(location.rsplit('/').next().context("an id")?.to_owned())
        };
        (0..upload.files).map(id).collect()
    }

    fn put(&self, file: &str, number: u32, upload: Upload) -> Vec<u8> {
        let [length, offset] = [upload.part_bytes, upload.part_bytes * u64::from(number - 1)].map(|n| n.to_string());
        let headers = [
            ("Content-Length", &*length),
            ("Upload-Offset", &*offset),
            ("Content-Type", "application/offset+octet-stream"),
        ];
        self.request("PATCH", &format!("/{file}"), &headers)
    }

    /// The last append has finalized the file.
    fn finish(&self, file: &str) -> anyhow::Result<Duration> {
        let answer = send(&self.server.address, &self.request("HEAD", &format!("/{file}"), &[]))?;
        ensure!(answer.header("upload-offset") == answer.header("upload-length"), "the file is not complete");
        Ok(Duration::ZERO)
    }

    fn remove(&self, _: &str) -> anyhow::Result<()> {
        Ok(())
    }
}

/// Measures appends over one connection. The sink syncs each request once; Partway syncs each part.
pub(crate) fn run(work: &Path, effort: &Effort) -> anyhow::Result<()> {
    let mib = effort.file_mib.min(1024);
    let upload = |append_mib| Upload {
        part_bytes: append_mib * MIB,
        parts_per_file: u32::try_from(mib / append_mib).unwrap_or(u32::MAX),
        files: 1,
        connections: 1,
    };
    let mut all = Vec::new();
    for (case, upload, asks) in [
        ("one PATCH", upload(mib), false),
        ("PATCHes of 4 MiB", upload(4), false),
        ("one PATCH beside 1,000 HEAD/s; sink: without HEAD", upload(mib), true),
    ] {
        let mut bytes = vec![0; usize::try_from(upload.part_bytes)?];
        getrandom::fill(&mut bytes)?;
        let mut measured = Measured::new("append", case);
        for _ in 0..effort.uploads {
            let folder = tempfile::tempdir_in(work)?;
            let tus = |asks| {
                Ok::<_, anyhow::Error>(Tus { server: Server::partway(&folder.path().join("partway"), &[])?, asks })
            };
            let floor = match asks {
                true => sample(&tus(false)?, upload, &bytes)?.0,
                false => {
                    let path = folder.path().join("sink");
                    sample(
                        &Sink(Server::floor(&["sink", path.to_str().context("a path that is text")?])?),
                        upload,
                        &bytes,
                    )?
                    .0
                }
            };
            measured.floor.push(floor);
            measured.partway.push(sample(&tus(asks)?, upload, &bytes)?.0);
        }
        all.push(measured);
    }
    let head = ["append"].iter().chain(&report::THROUGHPUT).copied().collect::<Vec<_>>();
    let rows = all.iter().map(report::throughput);
    report::table(&format!("A file of {mib} MiB by tus, one connection"), &head, rows);
    report::save("append", &all)
}

//! What Partway costs, beside what the work costs at the very least; see `benches/README.md`.

mod busy;
mod floor;
mod http;
mod ingest;
mod report;
mod seed;
mod server;
mod sink;
mod status;

use std::time::Duration;

use anyhow::bail;

/// How long and how often is measured.
pub(crate) struct Effort {
    pub(crate) rounds: usize,
    pub(crate) duration: Duration,
    /// How often a file is uploaded.
    pub(crate) uploads: usize,
    /// Size of an uploaded file.
    pub(crate) file_mib: u64,
    pub(crate) small_parts: u32,
}

fn main() -> anyhow::Result<()> {
    let runtime = tokio::runtime::Runtime::new()?;
    // Cargo says `--bench`.
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    if let ["floor", rest @ ..] = &*words {
        return runtime.block_on(async {
            match rest {
                ["sink", folder] => sink::serve(folder, false).await,
                ["commits", folder] => sink::serve(folder, true).await,
                [database, ranges] => floor::serve(database, ranges).await,
                _ => bail!("there is no such floor: {rest:?}"),
            }
        });
    }
    let effort = if words.contains(&"--quick") {
        Effort { rounds: 1, duration: Duration::from_millis(300), uploads: 1, file_mib: 640, small_parts: 2_048 }
    } else {
        Effort { rounds: 5, duration: Duration::from_secs(1), uploads: 3, file_mib: 4_160, small_parts: 8_192 }
    };
    let suites: Vec<_> = words.iter().filter(|word| !word.starts_with("--")).collect();
    let wants = |suite: &str| suites.is_empty() || suites.iter().any(|wanted| **wanted == suite);
    let work = tempfile::tempdir()?;
    let postgres = std::env::var("TEST_DATABASE_URL").ok();
    if wants("status") {
        status::run(&runtime, work.path(), None, &effort)?;
        match &postgres {
            Some(url) => {
                seed::with_schema(&runtime, url, |url| status::run(&runtime, work.path(), Some(url), &effort))?;
            }
            None => println!("\nPostgreSQL is not measured: there is no TEST_DATABASE_URL"),
        }
    }
    if wants("ingest") {
        ingest::large(work.path(), &effort)?;
    }
    if wants("small") {
        ingest::small(work.path(), &effort)?;
    }
    if wants("busy") {
        busy::run(work.path(), &effort)?;
    }
    if wants("start") {
        ingest::start(work.path(), &effort)?;
    }
    Ok(())
}

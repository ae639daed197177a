//! Measures what Partway costs and compares it with a floor, the minimum cost of the same work. See `benches/README.md`.

mod append;
mod busy;
mod files;
mod floor;
mod growth;
mod growth_seed;
mod http;
mod ingest;
mod part_size;
mod report;
mod seed;
mod server;
mod sink;
mod status;

use std::time::Duration;

use anyhow::bail;

/// How long and how often to measure.
pub(crate) struct Effort {
    pub(crate) rounds: usize,
    pub(crate) duration: Duration,
    /// Number of uploads per case.
    pub(crate) uploads: usize,
    /// Size of the uploaded file, in MiB.
    pub(crate) file_mib: u64,
    pub(crate) small_parts: u32,
    /// Number of small files per case and round.
    pub(crate) small_files: u32,
    /// Divides the numbers of sessions in the large database.
    pub(crate) growth_scale: u64,
}

fn main() -> anyhow::Result<()> {
    let runtime = tokio::runtime::Runtime::new()?;
    // Cargo passes `--bench`.
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    if let ["floor", rest @ ..] = &*words {
        return runtime.block_on(async {
            match rest {
                ["sink", folder] => sink::serve(folder, false).await,
                ["commits", folder] => sink::serve(folder, true).await,
                ["files", folder] => files::serve(folder, false).await,
                ["files-together", folder] => files::serve(folder, true).await,
                [database, ranges] => floor::serve(database, ranges).await,
                _ => bail!("unknown floor: {rest:?}"),
            }
        });
    }
    let effort = if words.contains(&"--quick") {
        Effort {
            rounds: 1,
            duration: Duration::from_millis(300),
            uploads: 1,
            file_mib: 640,
            small_parts: 2_048,
            small_files: 1_024,
            growth_scale: 10,
        }
    } else {
        Effort {
            rounds: 5,
            duration: Duration::from_secs(1),
            uploads: 5,
            file_mib: 1_040,
            small_parts: 8_192,
            small_files: 8_192,
            growth_scale: 1,
        }
    };
    let suites: Vec<_> = words.iter().filter(|word| !word.starts_with("--")).collect();
    let selects = |suite: &str| suites.is_empty() || suites.iter().any(|selected| **selected == suite);
    let work = tempfile::tempdir()?;
    let postgres = std::env::var("TEST_DATABASE_URL").ok();
    if selects("status") {
        status::run(&runtime, work.path(), None, &effort)?;
        match &postgres {
            Some(url) => {
                seed::with_schema(&runtime, url, |url| status::run(&runtime, work.path(), Some(url), &effort))?;
            }
            None => println!("\nPostgreSQL is not measured: TEST_DATABASE_URL is not set"),
        }
    }
    if selects("ingest") {
        ingest::large(work.path(), &effort)?;
    }
    if selects("part-size") {
        part_size::run(work.path(), &effort)?;
    }
    if selects("append") {
        append::run(work.path(), &effort)?;
    }
    if selects("small") {
        ingest::small(work.path(), &effort)?;
    }
    if selects("files") {
        files::run(work.path(), &effort)?;
    }
    if selects("busy") {
        busy::run(work.path(), &effort)?;
    }
    if selects("growth") {
        growth::run(&runtime, work.path(), postgres.as_deref(), &effort)?;
    }
    if selects("start") {
        ingest::start(work.path(), &effort)?;
    }
    Ok(())
}

//! Prints a table for people and saves every raw number as JSON.

use std::{fs, path::PathBuf};

use serde::Serialize;

/// A sample of one server under one load.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Sample {
    /// Requests per second, or MiB per second in the suites that measure throughput.
    pub(crate) per_second: f64,
    /// The server's CPU time per request or per MiB, in microseconds.
    pub(crate) cpu_us: f64,
    pub(crate) p50_us: f64,
    pub(crate) p99_us: f64,
    /// The server's peak memory, in MiB.
    pub(crate) peak_mib: f64,
}

/// One row: the same load on both servers, in every round.
#[derive(Debug, Serialize)]
pub(crate) struct Measured {
    pub(crate) suite: &'static str,
    pub(crate) case: String,
    pub(crate) floor: Vec<Sample>,
    pub(crate) partway: Vec<Sample>,
}

impl Measured {
    pub(crate) fn new(suite: &'static str, case: &str) -> Self {
        Self { suite, case: case.to_owned(), floor: Vec::new(), partway: Vec::new() }
    }

    /// The median over the rounds of the ratio of Partway to the floor within one round.
    pub(crate) fn ratio(&self, of: impl Fn(&Sample) -> f64) -> f64 {
        median(self.partway.iter().zip(&self.floor).map(|(partway, floor)| of(partway) / of(floor)))
    }

    pub(crate) fn partway(&self, of: impl Fn(&Sample) -> f64) -> f64 {
        median(self.partway.iter().map(of))
    }

    pub(crate) fn floor(&self, of: impl Fn(&Sample) -> f64) -> f64 {
        median(self.floor.iter().map(of))
    }
}

/// The median. NaN without values.
pub(crate) fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<_> = values.collect();
    values.sort_unstable_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

/// Prints a Markdown table.
pub(crate) fn table(title: &str, head: &[&str], rows: impl Iterator<Item = Vec<String>>) {
    println!("\n### {title}\n\n| {} |\n|{}", head.join(" | "), " --- |".repeat(head.len()));
    for row in rows {
        println!("| {} |", row.join(" | "));
    }
}

/// Saves the raw numbers of a suite in the target folder.
pub(crate) fn save(suite: &str, measured: &impl Serialize) -> anyhow::Result<()> {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("load");
    fs::create_dir_all(&folder)?;
    let file = folder.join(format!("{suite}.json"));
    fs::write(&file, serde_json::to_vec_pretty(measured)?)?;
    println!("\nraw numbers: {}", file.display());
    Ok(())
}

/// The heads of the cells of [`throughput`], without the case's own.
pub(crate) const THROUGHPUT: [&str; 7] = ["MiB/s", "sink", "ratio", "CPU s/GiB", "sink", "ratio", "peak MiB"];

/// The name of a case that receives bytes, its throughput, and what that costs.
pub(crate) fn throughput(case: &Measured) -> Vec<String> {
    vec![
        case.case.clone(),
        format!("{:.0}", case.partway(|s| s.per_second)),
        format!("{:.0}", case.floor(|s| s.per_second)),
        format!("**{:.2}**", case.ratio(|s| s.per_second)),
        format!("{:.2}", case.partway(|s| s.cpu_us * 1024.0 / 1e6)),
        format!("{:.2}", case.floor(|s| s.cpu_us * 1024.0 / 1e6)),
        format!("**{:.2}**", case.ratio(|s| s.cpu_us)),
        format!("{:.0}", case.partway(|s| s.peak_mib)),
    ]
}

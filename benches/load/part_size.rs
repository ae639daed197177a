//! Measures what the size of a part costs: a durable file in parts of 5, 8 and 16 MiB, over few and many connections.

use std::path::Path;

use crate::{
    Effort,
    ingest::{MIB, Upload, compare},
    report,
};

const PARTS_MIB: [u64; 3] = [5, 8, 16];
const CONNECTIONS: [usize; 3] = [1, 4, 64];

/// Measures a file of 1 GiB beside the sink, which syncs each part once.
pub(crate) fn run(work: &Path, effort: &Effort) -> anyhow::Result<()> {
    let file_mib = effort.file_mib.min(1_024);
    let mut all = Vec::new();
    for part_mib in PARTS_MIB {
        for connections in CONNECTIONS {
            let upload = Upload {
                part_bytes: part_mib * MIB,
                parts_per_file: u32::try_from(file_mib / part_mib)?,
                files: 1,
                connections,
            };
            let case = format!("{part_mib} MiB, {connections} connections");
            all.push(compare(work, &case, &[], "sink", upload, effort)?.0);
        }
    }
    let head: Vec<_> = ["part"].iter().chain(&report::THROUGHPUT).copied().collect();
    report::table(&format!("A file of {file_mib} MiB by size of the part"), &head, all.iter().map(report::throughput));
    report::save("part-size", &all)
}

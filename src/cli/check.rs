//! `partway check`: looks for damage, and repairs it on request.

use std::{process::ExitCode, sync::Arc};

use clap::Args;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::json;

use super::{
    exit::Exit,
    flags::StoreFlags,
    output::{NOTHING, OutputFlags, is_quiet, note, result},
};
use crate::{
    app::Lock,
    service::{CheckOptions, Finding},
};

const STYLE: &str = "comparing [{bar:30}] {bytes}/{total_bytes} {bytes_per_sec} ETA {eta}";

#[derive(Debug, Args)]
pub(super) struct Check {
    /// Repair what can be repaired safely; stop the server first
    #[arg(long)]
    repair: bool,
    /// Read every stored byte and compare it with the digests in the database
    #[arg(long)]
    digests: bool,
    #[command(flatten)]
    stores: StoreFlags,
    #[command(flatten)]
    pub(super) output: OutputFlags,
}

impl Check {
    pub(super) async fn run(self) -> anyhow::Result<ExitCode> {
        let target = if is_quiet() { ProgressDrawTarget::hidden() } else { ProgressDrawTarget::stderr() };
        let bar = ProgressBar::with_draw_target(None, target);
        bar.set_style(ProgressStyle::with_template(STYLE).unwrap_or_else(|_| ProgressStyle::default_bar()));
        let reading = bar.clone();
        let on_read = move |total_bytes, bytes| {
            reading.set_length(total_bytes);
            reading.inc(bytes);
        };
        let on_read = self.digests.then(|| Arc::new(on_read) as Arc<dyn Fn(u64, u64) + Send + Sync>);
        let options = CheckOptions { repairs: self.repair, on_read };
        let report = super::with_service(&self.stores, async |service| {
            // A check can run beside a server. A repair cannot, because the server has the same files open.
            let _lock = self.repair.then(|| Lock::take(&super::flags::settings(&self.stores)?)).transpose()?;
            service.bind_storage().await.map_err(super::internal)?;
            service.check(options).await.map_err(super::internal)
        })
        .await?;
        bar.finish_and_clear();
        for (kind, findings) in
            [("problem", &report.problems), ("unfinished", &report.unfinished), ("repaired", &report.repaired)]
        {
            for Finding { what, advice } in findings {
                let json = json!({ "kind": kind, "what": what, "advice": advice });
                result(json, NOTHING, Some(format_args!("{kind}: {what}\n    {advice}")))?;
            }
        }
        note(format_args!(
            "{} sessions and {} stored files checked: {} problems, {} unfinished, {} repaired",
            report.sessions,
            report.files,
            report.problems.len(),
            report.unfinished.len(),
            report.repaired.len()
        ));
        if report.not_compared > 0 {
            note(format_args!(
                "{} stored files were not compared: the server has removed the records of their parts (part_retention), and no \
                 digest of the whole file is recorded",
                report.not_compared
            ));
        }
        let exit = if report.problems.is_empty() { Exit::Done } else { Exit::Failed };
        let json = json!({
            "kind": "summary", "sessions": report.sessions, "files": report.files, "problems": report.problems.len(),
            "unfinished": report.unfinished.len(), "repaired": report.repaired.len(), "not_compared": report.not_compared,
        });
        result(json, NOTHING, NOTHING)?;
        Ok(exit.into())
    }
}

//! `partway move`: copies everything of a stopped server to another database and another storage.
//!
//! Owns the flags of the target, and the text and JSON of the report. Does not own the move: that is
//! `service/moving`.

use std::{path::PathBuf, process::ExitCode, sync::Arc};

use anyhow::ensure;
use clap::Args;
use indicatif::HumanBytes;
use serde_json::{Value, json};

use super::{
    flags::StoreFlags,
    output::{OutputFlags, answer, is_json, is_quiet, note},
    progress::MovingProgress,
};
use crate::{
    app::{MoveStorages, Moving, plan_move},
    config::Config,
    domain::SystemClock,
    service::{LeftBehind, MissingParts, MoveOptions, MoveOutcome, MovePlan, MoveReport},
};

#[derive(Debug, Args)]
#[command(after_help = "The flags without `to` name the source, as for `partway serve`. See docs/moving.md.")]
pub(super) struct Move {
    /// New folder for the database and the files
    #[arg(long, value_name = "DIR")]
    to_data: Option<PathBuf>,
    /// New SQLite file or empty PostgreSQL database [default: SQLite in the new data folder]
    #[arg(long, value_name = "FILE|URL")]
    to_database: Option<String>,
    /// New folder or empty place in an object store for the bytes [default: files in the new data folder]
    #[arg(long, value_name = "DIR|URL")]
    to_storage: Option<String>,
    /// Show what would be moved, and what cannot be moved; change nothing
    #[arg(long)]
    dry_run: bool,
    /// Finish without what cannot be moved: damaged files, and open uploads with parts that the object store does not accept
    #[arg(long)]
    leave_behind: bool,
    /// Read the parts of open uploads from an object store, by ending these uploads at the source
    #[arg(long)]
    end_uploads: bool,
    #[command(flatten)]
    source: StoreFlags,
    #[command(flatten)]
    pub(super) output: OutputFlags,
}

impl Move {
    pub(super) async fn run(self) -> anyhow::Result<ExitCode> {
        let source = super::flags::settings(&self.source)?;
        let target = self.target(&source)?;
        if self.dry_run {
            let plan = plan_move(&source, &target, self.end_uploads).await?;
            if is_json() {
                let left_behind = json_of_left(&plan.left_behind);
                answer(json!({ "outcome": "planned", "plan": json_of_plan(&plan), "left_behind": left_behind }))?;
            } else if !is_quiet() {
                print_plan(&plan)?;
                print_left(&plan.left_behind)?;
            }
            return Ok(if plan.left_behind.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE });
        }
        let mut moving = Moving::open(&source, &target, Arc::new(SystemClock), MoveStorages::default()).await?;
        let report = self.run_move(&mut moving).await;
        moving.close().await;
        let report = report?;
        if is_json() {
            answer(json_of(&report))?;
        } else if !is_quiet() {
            print(&report)?;
        }
        let is_whole = report.left_behind.is_empty() && report.problems.is_empty();
        Ok(if is_whole { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }

    /// The settings of the target: those of the source with another database and storage.
    fn target(&self, source: &Config) -> anyhow::Result<Config> {
        let is_named = self.to_data.is_some() || (self.to_database.is_some() && self.to_storage.is_some());
        ensure!(is_named, "name the target: --to-data, or both --to-database and --to-storage");
        let text = |given: &Option<String>| given.clone().unwrap_or_default();
        source.with_stores(self.to_data.clone(), text(&self.to_database), text(&self.to_storage))
    }

    async fn run_move(&self, moving: &mut Moving) -> anyhow::Result<MoveReport> {
        let progress = Arc::new(MovingProgress::new());
        let shown = Arc::clone(&progress);
        let options = MoveOptions {
            leaves_behind: self.leave_behind,
            ends_uploads: self.end_uploads,
            on_progress: Arc::new(move |happened| shown.show(happened)),
        };
        let report = tokio::select! {
            report = moving.run(&options) => report,
            never = progress.print_lines() => match never {},
        };
        progress.clear();
        report
    }
}

fn print_plan(plan: &MovePlan) -> anyhow::Result<()> {
    let MovePlan { sessions, files, file_bytes, open_sessions, open_bytes, .. } = plan;
    answer(format_args!(
        "{files} stored files with {}, {open_sessions} open sessions with {}, {sessions} sessions in all",
        HumanBytes(*file_bytes),
        HumanBytes(*open_bytes)
    ))?;
    if plan.unreadable_sessions > 0 {
        answer(format_args!(
            "the object store returns no parts of {} open sessions: their clients must send {} again. With --end-uploads, the \
             move reads them, and these sessions cannot go on at the source",
            plan.unreadable_sessions,
            HumanBytes(plan.unreadable_bytes)
        ))?;
    }
    Ok(())
}

fn print_left(left: &[LeftBehind]) -> anyhow::Result<()> {
    for LeftBehind { kind, id, owner, filename, why, .. } in left {
        let of = match (filename, owner) {
            (Some(filename), Some(owner)) => format!(" ({filename:?} of {owner})"),
            _ => String::new(),
        };
        answer(format_args!("cannot be moved: {kind} {id}{of}: {why}"))?;
    }
    Ok(())
}

fn print(report: &MoveReport) -> anyhow::Result<()> {
    if let MoveOutcome::FinishedBefore(at) = report.outcome {
        note(format_args!("this move was finished at {}; nothing is left to do", at.format("%F %R UTC")));
        return Ok(());
    }
    print_plan(&report.plan)?;
    for MissingParts { session, owner, filename, parts, has_no_tail, why } in &report.missing_parts {
        let tail = if *has_no_tail { ", and the beginning of the next part" } else { "" };
        answer(format_args!(
            "to be sent again: parts {parts}{tail} of session {session} ({filename:?} of {owner}): {why}"
        ))?;
    }
    print_left(&report.left_behind)?;
    for problem in &report.problems {
        answer(format_args!("problem in the target: {}", problem.what))?;
    }
    if report.not_compared > 0 {
        answer(format_args!("{} stored files were not compared: no digest of them is recorded", report.not_compared))?;
    }
    let rows: Vec<String> =
        report.rows.iter().filter(|(_, rows)| **rows > 0).map(|(table, rows)| format!("{table} {rows}")).collect();
    if !rows.is_empty() {
        answer(format_args!("rows: {}", rows.join(", ")))?;
    }
    note(format_args!("{} copied in this run", HumanBytes(report.copied_bytes)));
    note(match report.outcome {
        MoveOutcome::Ready | MoveOutcome::FinishedBefore(_) => {
            "the move is finished: servers can use the target. Do not start a server on the source again: it would receive \
             uploads that the target does not have"
        }
        MoveOutcome::Undecided => {
            "the move is not finished, and no server can use the target: repair the source (see docs/moving.md) and run the same \
             command again, or add --leave-behind to finish without what cannot be moved"
        }
        MoveOutcome::Damaged => {
            "the move is not finished, and no server can use the target: the check has found problems there. Run the same command \
             again"
        }
    });
    Ok(())
}

fn json_of(report: &MoveReport) -> Value {
    let outcome = match report.outcome {
        MoveOutcome::Ready => "finished",
        MoveOutcome::FinishedBefore(_) => "finished_before",
        MoveOutcome::Undecided => "undecided",
        MoveOutcome::Damaged => "damaged",
    };
    let missing = report.missing_parts.iter().map(|missing| {
        json!({
            "session_id": missing.session.to_string(),
            "owner": missing.owner,
            "original_filename": missing.filename,
            "parts": missing.parts.to_string(),
            "tail": missing.has_no_tail,
            "reason": missing.why,
        })
    });
    json!({
        "outcome": outcome,
        "plan": json_of_plan(&report.plan),
        "copied_bytes": report.copied_bytes,
        "rows": report.rows,
        "files_not_compared": report.not_compared,
        "missing_parts": missing.collect::<Vec<_>>(),
        "left_behind": json_of_left(&report.left_behind),
        "problems": report.problems.iter().map(|problem| &problem.what).collect::<Vec<_>>(),
    })
}

fn json_of_plan(plan: &MovePlan) -> Value {
    json!({
        "sessions": plan.sessions,
        "files": plan.files,
        "file_bytes": plan.file_bytes,
        "open_sessions": plan.open_sessions,
        "open_bytes": plan.open_bytes,
        "unreadable_sessions": plan.unreadable_sessions,
        "unreadable_bytes": plan.unreadable_bytes,
    })
}

fn json_of_left(left: &[LeftBehind]) -> Value {
    let left = left.iter().map(|left| {
        json!({
            "kind": left.kind,
            "id": left.id,
            "owner": left.owner,
            "original_filename": left.filename,
            "reason": left.why,
        })
    });
    left.collect()
}

//! `partway status`: shows the received parts as a bar.

use std::{process::ExitCode, time::Duration};

use clap::Args;
use console::{Term, truncate_str};
use futures_util::StreamExt;
use indicatif::HumanBytes;

use super::{
    exit::Exit,
    output::{NOTHING, OutputError, OutputFlags, answer, is_json, is_quiet, note, result},
    server::Server,
};
use crate::client::{RetryPolicy, SessionBody, Verbatim, part_numbers};

/// The width of the bar in characters.
const BAR_CELLS: u32 = 60;
/// The wait before `--watch` connects again after its connection broke.
const RECONNECT_DELAY: Duration = Duration::from_secs(1);

#[derive(Debug, Args)]
#[command(override_usage = "partway status [OPTIONS] <ID>")]
pub(super) struct Status {
    /// The session's id
    id: String,
    /// Show every change until the session ends
    #[arg(long, env = "PARTWAY_WATCH", value_parser = clap::builder::BoolishValueParser::new())]
    watch: bool,
    #[command(flatten)]
    server: Server,
    #[command(flatten)]
    pub(super) output: OutputFlags,
}

impl Status {
    pub(super) async fn run(self) -> anyhow::Result<ExitCode> {
        let client = self.server.client()?;
        // With `--watch`, a server that restarts must not end the command.
        let retry = RetryPolicy::new(if self.watch { self.server.retry_for() } else { Duration::ZERO });
        let on_retry = |reason| note(format_args!("{reason}; trying again"));
        let read = || retry.run(&on_retry, || client.session_verbatim(&self.id));
        let mut session = read().await?;
        let mut shown_rows = show(&session, 0, self.watch)?;
        while self.watch && is_open(&session.item) {
            let mut changes = std::pin::pin!(retry.run(&on_retry, || client.changes(&self.id)).await?);
            while changes.next().await.is_some() {
                let changed = read().await?;
                if changed.item.version != session.item.version {
                    session = changed;
                    shown_rows = show(&session, shown_rows, self.watch)?;
                }
            }
            if is_open(&session.item) {
                tokio::time::sleep(RECONNECT_DELAY).await;
            }
        }
        let has_failed = self.watch && session.item.status != "COMPLETE";
        Ok(if has_failed { Exit::Failed } else { Exit::Done }.into())
    }
}

fn is_open(session: &SessionBody) -> bool {
    matches!(session.status.as_str(), "INIT" | "IN_PROGRESS")
}

/// Prints a session and returns the number of rows. With `--watch` on a terminal, it overwrites the rows of the last call,
/// and cuts each line to the width of the terminal so that a line is one row.
fn show(
    Verbatim { item: session, json }: &Verbatim<SessionBody>,
    rows_before: usize,
    watch: bool,
) -> Result<usize, OutputError> {
    if is_json() || is_quiet() {
        result(json, Some(&session.status), NOTHING)?;
        return Ok(0);
    }
    let mut text = render(session);
    let terminal = Term::stdout();
    if watch && terminal.is_term() {
        let columns = usize::from(terminal.size().1);
        text = text.lines().map(|line| truncate_str(line, columns, "…")).collect::<Vec<_>>().join("\n");
        terminal.clear_last_lines(rows_before).map_err(OutputError::from)?;
    }
    answer(&text)?;
    Ok(text.lines().count())
}

fn render(session: &SessionBody) -> String {
    let reason = session.status_reason.as_ref().map(|reason| format!(" ({reason})")).unwrap_or_default();
    let list = |ranges: &[String]| if ranges.is_empty() { "none".to_owned() } else { ranges.join(", ") };
    let mut lines = vec![
        format!("session   {}", session.session_id),
        format!("file      {} ({})", session.file.original_filename, HumanBytes(session.total_size_bytes)),
        format!("status    {}{reason}", session.status),
        format!(
            "parts     {} of {} ({} of {})",
            session.completed_parts,
            session.total_parts,
            HumanBytes(session.bytes_received),
            HumanBytes(session.total_size_bytes)
        ),
        format!("[{}]", bar(&session.received_parts, session.total_parts)),
        format!("received  {}", list(&session.received_parts)),
        format!("missing   {}", list(&session.missing_parts)),
    ];
    if session.status == "COMPLETE" {
        lines.push(format!("file_id   {}", session.file.file_id));
    } else if is_open(session) {
        lines.push(format!("expires   {}", session.expires_at.format("%F %R UTC")));
    }
    lines.extend(session.file.sha256.as_ref().map(|sha256| format!("sha256    {sha256}")));
    lines.extend(session.file.crc64nvme.as_ref().map(|crc64nvme| format!("crc64nvme {crc64nvme}")));
    lines.join("\n")
}

/// One character for each slice of the file: `█` if the server has all of it, `▒` if some, `·` if none.
fn bar(received: &[String], total: u32) -> String {
    let cells = BAR_CELLS.min(total);
    if cells == 0 {
        return "█".repeat(BAR_CELLS as usize);
    }
    let cell_of = |part: u32| {
        let cell = u64::from(part - 1) * u64::from(cells) / u64::from(total);
        usize::try_from(cell).unwrap_or_default()
    };
    let (mut have, mut size) = (vec![0_u32; cells as usize], vec![0_u32; cells as usize]);
    (1..=total).for_each(|part| size[cell_of(part)] += 1);
    part_numbers(received).filter(|part| (1..=total).contains(part)).for_each(|part| have[cell_of(part)] += 1);
    let glyph = |(have, size): (u32, u32)| match have {
        0 => "·",
        have if have == size => "█",
        _ => "▒",
    };
    let width = (BAR_CELLS / cells) as usize;
    have.into_iter().zip(size).map(|cell| glyph(cell).repeat(width)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bar_of(received: &[&str], total: u32) -> String {
        bar(&received.iter().map(ToString::to_string).collect::<Vec<_>>(), total)
    }

    #[test]
    fn the_bar_shows_complete_partial_and_missing_slices() {
        let shown = bar_of(&["1-50", "52", "55-100"], 100);
        assert_eq!(shown.chars().count(), 60);
        assert!(shown.starts_with(&"█".repeat(30)), "{shown}");
        assert!(shown.contains('▒'), "{shown}");
        assert!(shown.ends_with(&"█".repeat(27)), "{shown}");
    }

    #[test]
    fn few_parts_get_wide_cells_and_an_empty_file_gives_a_full_bar() {
        assert_eq!(bar_of(&["1"], 3), "█".repeat(20) + &"·".repeat(40));
        assert_eq!(bar_of(&[], 0), "█".repeat(60));
        assert_eq!(bar_of(&[], 1_000), "·".repeat(60));
    }
}

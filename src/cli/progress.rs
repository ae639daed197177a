//! The progress of an upload on standard error.
//!
//! Owns the progress bar, and the plain lines that replace it if standard error is not a terminal. Does not upload: that is
//! `client`.

use std::{convert::Infallible, time::Duration};

use indicatif::{HumanBytes, HumanDuration, ProgressBar, ProgressDrawTarget, ProgressStyle};
use parking_lot::Mutex;

use super::output::note;
use crate::client::{Event, SessionBody};

/// The time between two plain lines.
const LINE_INTERVAL: Duration = Duration::from_secs(10);

/// A progress bar, or plain lines.
pub(super) struct Progress {
    bar: Mutex<ProgressBar>,
    has_noted_retry: Mutex<bool>,
}

impl Progress {
    pub(super) fn new() -> Self {
        Self { bar: Mutex::new(ProgressBar::hidden()), has_noted_retry: Mutex::default() }
    }

    /// Shows an event of the upload.
    pub(super) fn show(&self, event: Event) {
        let mut bar = self.bar.lock();
        match event {
            Event::Comparing { bytes } => *bar = new_bar(bytes, "comparing"),
            Event::Compared { bytes } | Event::Sent { bytes } => bar.inc(bytes),
            Event::Lost { bytes } => bar.dec(bytes),
            Event::Retrying { reason } if bar.is_hidden() => {
                // Only the first retry prints a line.
                if !std::mem::replace(&mut *self.has_noted_retry.lock(), true) {
                    note(format_args!("{reason}; trying again, press ctrl-C to stop"));
                }
            }
            Event::Retrying { reason } => bar.set_message(format!("{reason}, trying again")),
            Event::NewSession { replaces } => {
                bar.finish_and_clear();
                note(format_args!("Session {replaces} does not hold this file, or not any more; creating a new one"));
            }
            Event::NotComparable { session } => {
                bar.finish_and_clear();
                let why = "the server has no digests of it any more, so it may be another file; sending this file";
                note(format_args!("Session {session} has a file of this name and size, but {why}"));
            }
            Event::Finalizing => {
                bar.finish_and_clear();
                *bar = ProgressBar::new_spinner().with_message("finalizing").with_prefix("finalizing");
                bar.enable_steady_tick(Duration::from_millis(200));
            }
            Event::Sending(session) => {
                bar.finish_and_clear();
                note(headline(&session));
                *bar = new_bar(session.total_size_bytes, "sending");
                bar.set_position(session.bytes_received);
                // The rate and the remaining time must not include the bytes of earlier runs.
                bar.reset_eta();
            }
        }
    }

    /// Prints a line every `LINE_INTERVAL` if standard error is not a terminal.
    pub(super) async fn print_lines(&self) -> Infallible {
        loop {
            tokio::time::sleep(LINE_INTERVAL).await;
            let bar = self.bar.lock().clone();
            if bar.is_hidden() && !bar.is_finished() {
                note(line(&bar));
            }
        }
    }

    /// Removes the bar from the screen.
    pub(super) fn clear(&self) {
        self.bar.lock().finish_and_clear();
    }
}

/// A plain line that says the same as the bar.
pub(super) fn line(bar: &ProgressBar) -> String {
    let Some(total) = bar.length() else { return format!("{} since {}", bar.prefix(), HumanDuration(bar.elapsed())) };
    let done = bar.position();
    let percent = (done * 100).checked_div(total).unwrap_or(100);
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the rate is only displayed")]
    let rate = HumanBytes(bar.per_sec() as u64);
    format!(
        "{} {} of {} ({percent} %), {rate}/s, {} left",
        bar.prefix(),
        HumanBytes(done),
        HumanBytes(total),
        HumanDuration(bar.eta())
    )
}

fn headline(session: &SessionBody) -> String {
    let (id, total) = (&session.session_id, session.total_parts);
    match session.completed_parts {
        0 => format!("Session {id}: {total} parts, {}", HumanBytes(session.total_size_bytes)),
        done => format!(
            "Session {id}: the server has {done} of {total} parts, {} left",
            HumanBytes(session.total_size_bytes - session.bytes_received)
        ),
    }
}

fn new_bar(bytes: u64, verb: &'static str) -> ProgressBar {
    let template = "{prefix} [{bar:30}] {bytes}/{total_bytes} {bytes_per_sec} ETA {eta} {wide_msg}";
    let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
    let bar = ProgressBar::with_draw_target(Some(bytes), ProgressDrawTarget::stderr());
    bar.set_style(style.progress_chars("=> "));
    bar.set_prefix(verb);
    bar
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plain_line_shows_bytes_and_percent() {
        let bar = ProgressBar::with_draw_target(Some(4 << 20), ProgressDrawTarget::hidden()).with_prefix("sending");
        bar.set_position(1 << 20);
        assert!(line(&bar).starts_with("sending 1.00 MiB of 4.00 MiB (25 %), "), "{}", line(&bar));
        let empty = ProgressBar::with_draw_target(Some(0), ProgressDrawTarget::hidden()).with_prefix("sending");
        assert!(line(&empty).contains("(100 %)"), "{}", line(&empty));
        let spinner = ProgressBar::with_draw_target(None, ProgressDrawTarget::hidden()).with_prefix("finalizing");
        assert!(line(&spinner).starts_with("finalizing since "), "{}", line(&spinner));
    }
}

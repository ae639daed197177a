//! Progress on standard error.
//!
//! Owns the progress bar, and the plain lines that replace it if standard error is not a terminal. What it shows of
//! uploads, of a download and of a move is in the modules below. Does not transfer anything: that is `client`.

mod download;
mod moving;
mod uploads;

use std::{
    convert::Infallible,
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use indicatif::{HumanBytes, HumanDuration, ProgressBar, ProgressDrawTarget, ProgressStyle};
use parking_lot::Mutex;

pub(super) use self::{
    download::DownloadProgress,
    moving::MovingProgress,
    uploads::{OneFile, Uploads},
};
use super::output::{is_quiet, note};

/// The time between two plain lines.
const LINE_INTERVAL: Duration = Duration::from_secs(5);

/// A progress bar, or plain lines.
pub(super) struct Bar {
    bar: Mutex<ProgressBar>,
    has_noted_retry: AtomicBool,
}

impl Bar {
    fn new() -> Self {
        Self { bar: Mutex::new(ProgressBar::hidden()), has_noted_retry: AtomicBool::default() }
    }

    /// Shows a new bar for this many bytes.
    fn start(&self, bytes: u64, verb: &'static str) {
        let template = "{prefix} [{bar:30}] {bytes}/{total_bytes} {bytes_per_sec} ETA {eta} {wide_msg}";
        let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
        let bar = ProgressBar::with_draw_target(Some(bytes), draw_target());
        bar.set_style(style.progress_chars("=> "));
        bar.set_prefix(verb);
        self.replace(bar);
    }

    /// Shows a bar for work without a known end.
    fn start_spinner(&self, what: &'static str) {
        let bar = ProgressBar::with_draw_target(None, draw_target()).with_message(what).with_prefix(what);
        bar.enable_steady_tick(Duration::from_millis(200));
        self.replace(bar);
    }

    fn replace(&self, bar: ProgressBar) {
        std::mem::replace(&mut *self.bar.lock(), bar).finish_and_clear();
    }

    fn bar(&self) -> ProgressBar {
        self.bar.lock().clone()
    }

    /// Shows the reason of a retry: in the bar, or in one line for all retries.
    fn retry(&self, reason: &str) {
        let bar = self.bar();
        if !bar.is_hidden() {
            bar.set_message(format!("{reason}, trying again"));
        } else if !self.has_noted_retry.swap(true, Ordering::Relaxed) {
            note(format_args!("{reason}; trying again, press ctrl-C to stop"));
        }
    }

    /// Prints a line every `LINE_INTERVAL` if standard error is not a terminal.
    pub(super) async fn print_lines(&self) -> Infallible {
        loop {
            tokio::time::sleep(LINE_INTERVAL).await;
            let bar = self.bar();
            if bar.is_hidden() && !bar.is_finished() {
                note(line(&bar));
            }
        }
    }

    /// Prints something else, while the bar is not on the screen.
    pub(super) fn beside<T>(&self, print: impl FnOnce() -> T) -> T {
        self.bar().suspend(print)
    }

    /// Removes the bar from the screen.
    pub(super) fn clear(&self) {
        self.bar.lock().finish_and_clear();
    }
}

fn draw_target() -> ProgressDrawTarget {
    if is_quiet() { ProgressDrawTarget::hidden() } else { ProgressDrawTarget::stderr() }
}

fn line(bar: &ProgressBar) -> String {
    let Some(total) = bar.length() else { return format!("{} since {}", bar.prefix(), HumanDuration(bar.elapsed())) };
    let done = bar.position();
    let percent = (done * 100).checked_div(total).unwrap_or(100);
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the rate is only displayed")]
    let rate = bar.per_sec() as u64;
    let line = format!("{} {} of {} ({percent} %)", bar.prefix(), HumanBytes(done), HumanBytes(total));
    // At the start there is no rate yet, and so no time.
    if rate == 0 { line } else { format!("{line}, {}/s, {} left", HumanBytes(rate), HumanDuration(bar.eta())) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plain_line_shows_bytes_and_percent() {
        let bar = ProgressBar::with_draw_target(Some(4 << 20), ProgressDrawTarget::hidden()).with_prefix("sending");
        bar.set_position(1 << 20);
        assert!(line(&bar).starts_with("sending 1.00 MiB of 4.00 MiB (25 %)"), "{}", line(&bar));
        let empty = ProgressBar::with_draw_target(Some(0), ProgressDrawTarget::hidden()).with_prefix("sending");
        assert!(line(&empty).contains("(100 %)"), "{}", line(&empty));
        let spinner = ProgressBar::with_draw_target(None, ProgressDrawTarget::hidden()).with_prefix("finalizing");
        assert!(line(&spinner).starts_with("finalizing since "), "{}", line(&spinner));
    }
}

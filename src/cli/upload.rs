//! `partway upload`

use std::{
    path::PathBuf,
    process::ExitCode,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use anyhow::Context;
use clap::Args;
use indicatif::{HumanBytes, ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::Server;
use crate::client::{Event, LocalFile, SessionBody, UploadOptions, upload};

/// What a shell reports for a command that ctrl-C ended.
const INTERRUPTED: u8 = 130;

#[derive(Debug, Args)]
pub(super) struct Upload {
    /// The file to upload
    file: PathBuf,
    #[command(flatten)]
    server: Server,
    /// Parts sent at the same time
    #[arg(long, env = "PARTWAY_PARALLEL", value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u8).range(1..=64))]
    parallel: u8,
    /// Begin anew, whatever was begun before; without it a file that is stored already is not sent again
    #[arg(long, env = "PARTWAY_NEW", value_parser = clap::builder::BoolishValueParser::new())]
    new: bool,
}

impl Upload {
    pub(super) async fn run(self) -> anyhow::Result<ExitCode> {
        let client = self.server.client()?;
        let file = LocalFile::open(&self.file).with_context(|| self.file.display().to_string())?;
        let options = UploadOptions { parallel: self.parallel.into(), anew: self.new };
        let screen = Arc::new(Screen::new());
        let shown = Arc::clone(&screen);
        let on: Arc<dyn Fn(Event) + Send + Sync> = Arc::new(move |event| shown.show(event));
        let outcome = tokio::select! {
            outcome = upload(&client, &file, options, on) => outcome,
            _ = tokio::signal::ctrl_c() => {
                screen.leave();
                eprintln!("Interrupted. What was acknowledged is safe; run the same command to go on.");
                return Ok(ExitCode::from(INTERRUPTED));
            }
        };
        screen.leave();
        let outcome = outcome?;
        if !outcome.is_new {
            eprintln!(
                "Already stored: every part has the bytes of this file. To store it once more, run again with --new."
            );
        }
        let stored = outcome.session.file;
        println!("file_id  {}", stored.file_id);
        println!("sha256   {}", stored.sha256.unwrap_or_default());
        Ok(ExitCode::SUCCESS)
    }
}

/// The progress bar; plain lines where standard error is no terminal.
struct Screen {
    bar: Mutex<ProgressBar>,
    has_complained: Mutex<bool>,
}

impl Screen {
    fn new() -> Self {
        Self { bar: Mutex::new(ProgressBar::hidden()), has_complained: Mutex::default() }
    }

    fn show(&self, event: Event) {
        let mut bar = self.bar.lock().unwrap_or_else(PoisonError::into_inner);
        match event {
            Event::Comparing { bytes } => *bar = new_bar(bytes, "comparing"),
            Event::Compared { bytes } | Event::Sent { bytes } => bar.inc(bytes),
            Event::Lost { bytes } => bar.dec(bytes),
            Event::Retrying { reason } if bar.is_hidden() => {
                // Said once, not every few seconds.
                if !std::mem::replace(&mut *self.has_complained.lock().unwrap_or_else(PoisonError::into_inner), true) {
                    eprintln!("{reason}; trying for some minutes, ctrl-C to stop");
                }
            }
            Event::Retrying { reason } => bar.set_message(format!("{reason}, trying again")),
            Event::Finalizing => {
                bar.finish_and_clear();
                *bar = ProgressBar::new_spinner().with_message("finalizing");
                bar.enable_steady_tick(Duration::from_millis(200));
            }
            Event::Sending(session) => {
                bar.finish_and_clear();
                eprintln!("{}", headline(&session));
                *bar = new_bar(session.total_size_bytes, "sending");
                bar.set_position(session.bytes_received);
                // The rate and the time left are of what is sent now.
                bar.reset_eta();
            }
        }
    }

    fn leave(&self) {
        self.bar.lock().unwrap_or_else(PoisonError::into_inner).finish_and_clear();
    }
}

fn headline(session: &SessionBody) -> String {
    let (id, total) = (&session.session_id, session.total_parts);
    match session.completed_parts {
        0 => format!("Session {id}: {total} parts, {}", HumanBytes(session.total_size_bytes)),
        done => format!(
            "Session {id}: {done} of {total} parts are there, {} to go",
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

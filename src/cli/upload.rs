//! `partway upload`: uploads a file, or resumes an upload.

use std::{path::PathBuf, process::ExitCode, sync::Arc};

use anyhow::Context;
use clap::Args;
use serde_json::{Value, json};

use super::{
    exit::Exit,
    output::{OutputError, OutputFlags, note, result},
    progress::Progress,
    server::Server,
};
use crate::client::{Event, FileBody, LocalFile, Outcome, UploadOptions, upload};

#[derive(Debug, Args)]
#[command(override_usage = "partway upload [OPTIONS] <FILE>")]
pub(super) struct Upload {
    /// The file to upload
    file: PathBuf,
    #[command(flatten)]
    server: Server,
    /// The highest number of parts sent in parallel; a slow connection gets one at a time
    #[arg(long, env = "PARTWAY_PARALLEL", value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u8).range(1..=64))]
    parallel: u8,
    /// Start a new upload even if the server has an unfinished or finished one of this file
    #[arg(long, env = "PARTWAY_NEW", value_parser = clap::builder::BoolishValueParser::new())]
    new: bool,
    /// The name to store the file under [default: its own]
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// Its media type, as in video/mp4 [default: guessed from its name]
    #[arg(long, value_name = "TYPE")]
    content_type: Option<String>,
    /// Metadata to store with the file; can be given several times
    #[arg(long, value_name = "KEY=VALUE", value_parser = key_and_value)]
    metadata: Vec<(String, String)>,
    #[command(flatten)]
    pub(super) output: OutputFlags,
}

fn key_and_value(text: &str) -> Result<(String, String), &'static str> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("give a key and a value, as in album=2026"),
    }
}

impl Upload {
    pub(super) async fn run(self) -> anyhow::Result<ExitCode> {
        let client = self.server.client()?;
        let file = self.open()?;
        let options =
            UploadOptions { parallel: self.parallel.into(), force_new: self.new, retry_for: self.server.retry_for() };
        let progress = Arc::new(Progress::new());
        let shown = Arc::clone(&progress);
        let on: Arc<dyn Fn(Event) + Send + Sync> = Arc::new(move |event| shown.show(event));
        let outcome = tokio::select! {
            outcome = upload(&client, &file, options, on) => outcome,
            never = progress.print_lines() => match never {},
            _ = tokio::signal::ctrl_c() => {
                progress.clear();
                note("Interrupted. The server keeps the acknowledged parts; run the same command to go on.");
                return Ok(Exit::Interrupted.into());
            }
        };
        progress.clear();
        let outcome = outcome?;
        if !outcome.is_new {
            note("Already stored: every part on the server matches this file. To store it again, add --new.");
        }
        if let Err(error) = print(&outcome) {
            // Exit with success, because the file is stored.
            note(format_args!("The file is stored, but {error}"));
        }
        Ok(Exit::Done.into())
    }

    fn open(&self) -> anyhow::Result<LocalFile> {
        let mut file = LocalFile::open(&self.file).with_context(|| self.file.display().to_string())?;
        match &self.name {
            Some(name) => file.name.clone_from(name),
            None if self.file.file_name() != Some(file.name.as_ref()) => {
                note(format_args!("The server stores the file under the name {}", file.name));
            }
            None => {}
        }
        if let Some(content_type) = &self.content_type {
            file.content_type.clone_from(content_type);
        }
        file.metadata = self.metadata.iter().map(|(key, value)| (key.clone(), Value::from(value.as_str()))).collect();
        Ok(file)
    }
}

fn print(outcome: &Outcome) -> Result<(), OutputError> {
    let file = &outcome.session.file;
    let json = json!({
        "result": if outcome.is_new { "stored" } else { "already_stored" },
        "session_id": outcome.session.session_id, "file": file,
    });
    result(json, Some(&file.file_id), Some(block(file)))
}

fn block(file: &FileBody) -> String {
    let digests =
        [("sha256   ", &file.sha256), ("crc64nvme  ", &file.crc64nvme), ("composite_sha256  ", &file.composite_sha256)];
    let digests = digests.into_iter().filter_map(|(name, digest)| Some(format!("\n{name}{}", digest.as_ref()?)));
    format!("file_id  {}{}", file.file_id, digests.collect::<String>())
}

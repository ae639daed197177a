//! `partway upload`: uploads files, folders and standard input, or resumes their uploads.

mod inputs;
mod report;
mod spool;

use std::{path::PathBuf, process::ExitCode, sync::Arc};

use clap::Args;
use futures_util::{StreamExt, stream};
use serde_json::{Map, Value};

use self::{
    inputs::{Input, Inputs, Source},
    report::Report,
};
use super::{
    exit::Exit,
    output::{OutputFlags, note},
    progress::{OneFile, Uploads},
    server::Server,
    usage::UsageError,
};
use crate::client::{LocalFile, Outcome, PATH_KEY, UploadOptions, Uploader};

#[derive(Debug, Args)]
#[command(override_usage = "partway upload [OPTIONS] <FILE>...")]
pub(super) struct Upload {
    /// The files to upload; folders with --recursive; `-` is standard input
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Upload the files in folders, and in the folders in them; the server keeps their paths as metadata
    #[arg(long, short)]
    recursive: bool,
    /// Follow symbolic links in folders, which are skipped otherwise
    #[arg(long, short = 'L', requires = "recursive")]
    follow_links: bool,
    #[command(flatten)]
    server: Server,
    /// The highest number of files, and of parts, sent in parallel; a slow connection gets one part at a time
    #[arg(long, env = "PARTWAY_PARALLEL", value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u8).range(1..=64))]
    parallel: u8,
    /// Start a new upload even if the server has an unfinished or finished one of this file
    #[arg(long, env = "PARTWAY_NEW", value_parser = clap::builder::BoolishValueParser::new())]
    new: bool,
    /// The name to store the file under [default: its own]; standard input needs one
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
        self.check()?;
        let client = self.server.client()?;
        let inputs = Inputs::of(&self.files, self.recursive, self.follow_links);
        let options =
            UploadOptions { parallel: self.parallel.into(), force_new: self.new, retry_for: self.server.retry_for() };
        let uploader = Uploader::new(client, options);
        let progress = Uploads::new(inputs.files.len(), inputs.files.iter().map(|input| input.size_bytes).sum());
        let report = Report::new(&inputs, self.files.len() == 1 && !inputs.has_folder, Arc::clone(&progress));
        tokio::select! {
            () = self.upload_all(&uploader, &inputs.files, &progress, &report) => {}
            never = progress.print_lines() => match never {},
            _ = tokio::signal::ctrl_c() => {
                progress.clear();
                note("Interrupted. The server keeps the acknowledged parts; run the same command to go on.");
                return Ok(Exit::Interrupted.into());
            }
        }
        progress.clear();
        Ok(report.end().into())
    }

    /// Checks what clap cannot.
    fn check(&self) -> Result<(), UsageError> {
        let has_input = self.files.iter().any(|file| file.as_os_str() == "-");
        if self.name.is_some() && (self.files.len() > 1 || self.recursive) {
            return Err(UsageError("--name is for one file"));
        }
        if has_input && self.files.len() > 1 {
            return Err(UsageError("standard input (-) must be the only file, because it needs a --name"));
        }
        if has_input && self.name.is_none() {
            return Err(UsageError("give standard input a name, as in --name dump.sql"));
        }
        if self.recursive && self.metadata.iter().any(|(key, _)| key == PATH_KEY) {
            return Err(UsageError("with --recursive, the metadata `path` is the path of each file"));
        }
        Ok(())
    }

    async fn upload_all(&self, uploader: &Uploader, inputs: &[Input], progress: &Arc<Uploads>, report: &Report) {
        let uploads = stream::iter(inputs).for_each_concurrent(usize::from(self.parallel), |input| async move {
            if report.has_ended() {
                return report.not_tried(input);
            }
            let progress = Arc::new(progress.of_file(&input.shown, input.size_bytes));
            let uploaded = self.upload_one(uploader, input, &progress).await;
            progress.end(uploaded.as_ref().is_ok_and(|outcome| outcome.is_new));
            match uploaded {
                Ok(outcome) => report.stored(input, &outcome),
                Err(error) => {
                    let ends_all = error.downcast_ref().is_some_and(|error| uploader.is_for_all_files(error));
                    report.failed(input, &error, ends_all);
                }
            }
        });
        uploads.await;
    }

    async fn upload_one(&self, uploader: &Uploader, input: &Input, progress: &Arc<OneFile>) -> anyhow::Result<Outcome> {
        let mut file = match &input.source {
            Source::Path { path, .. } => LocalFile::open(path)?,
            Source::Folder => anyhow::bail!("this is a folder; add --recursive to upload the files in it"),
            Source::Input => {
                progress.reading_input();
                LocalFile::of(spool::standard_input().await?, self.name.clone().unwrap_or_default())?
            }
        };
        progress.has_size(file.size_bytes);
        self.describe(input, &mut file);
        let shown = Arc::clone(progress);
        Ok(uploader.upload(&file, Arc::new(move |event| shown.show(event))).await?)
    }

    fn describe(&self, input: &Input, file: &mut LocalFile) {
        match (&self.name, &input.source) {
            (Some(name), _) => file.name.clone_from(name),
            (None, Source::Path { path, relative: None }) if path.file_name() != Some(file.name.as_ref()) => {
                note(format_args!("The server stores the file under the name {}", file.name));
            }
            _ => {}
        }
        if let Some(content_type) = &self.content_type {
            file.content_type.clone_from(content_type);
        }
        let mut metadata: Map<String, Value> =
            self.metadata.iter().map(|(key, value)| (key.clone(), Value::from(value.as_str()))).collect();
        if let Source::Path { relative: Some(relative), .. } = &input.source {
            metadata.insert(PATH_KEY.to_owned(), Value::from(relative.as_str()));
        }
        file.metadata = metadata;
    }
}

//! `partway download`: downloads a file, or resumes a download.

use std::{
    io,
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context, bail};
use clap::Args;
use serde_json::json;

use super::{
    exit::Exit,
    output::{NOTHING, OutputError, OutputFlags, is_json, note, plain, result},
    progress::DownloadProgress,
    retries::note_first,
    server::Server,
    usage::UsageError,
};
use crate::client::{Download as Transfer, DownloadError, Downloaded, FileBody, PartFile, stored_file};

#[derive(Debug, Args)]
#[command(override_usage = "partway download [OPTIONS] <FILE_ID>")]
pub(super) struct Download {
    /// The id of the file, as `partway ls` shows it
    #[arg(value_name = "FILE_ID")]
    id: String,
    /// Where to store it: a path, a folder, or `-` for standard output [default: its name, in this folder]
    #[arg(long, short, value_name = "PATH")]
    output: Option<PathBuf>,
    /// Replace a file that is there
    #[arg(long, short)]
    force: bool,
    #[command(flatten)]
    server: Server,
    #[command(flatten)]
    pub(super) form: OutputFlags,
}

impl Download {
    pub(super) async fn run(self) -> anyhow::Result<ExitCode> {
        let to_stdout = self.output.as_deref() == Some(Path::new("-"));
        if to_stdout && is_json() {
            return Err(UsageError("--json needs a file, because standard output has the bytes (-o -)").into());
        }
        let progress = DownloadProgress::new();
        tokio::select! {
            downloaded = self.download(to_stdout, &progress) => {
                progress.clear();
                downloaded?.print()?;
                Ok(Exit::Done.into())
            }
            never = progress.print_lines() => match never {},
            _ = tokio::signal::ctrl_c() => {
                progress.clear();
                note(if to_stdout { "Interrupted." } else { "Interrupted. Run the same command to go on." });
                Ok(Exit::Interrupted.into())
            }
        }
    }

    async fn download(&self, to_stdout: bool, progress: &DownloadProgress) -> anyhow::Result<Done> {
        let (client, retry) = (self.server.client()?, self.server.retry());
        let file = retry.run(&note_first(), || stored_file(&client, &self.id)).await?;
        let on = |event| progress.show(event);
        let transfer = Transfer { client: &client, file: &file, retry: &retry, on: &on };
        let target = if to_stdout { None } else { Some(self.target(&file)?) };
        let downloaded = match &target {
            Some(target) => to_file(&transfer, target, self.force).await?,
            None => match transfer.to_stream(&mut tokio::io::stdout()).await {
                Err(DownloadError::Target(error)) => return Err(OutputError::from(error).into()),
                downloaded => downloaded?,
            },
        };
        Ok(Done { target, file, downloaded })
    }

    /// Where to store the file.
    fn target(&self, file: &FileBody) -> anyhow::Result<PathBuf> {
        let named = || {
            // The name comes from the client that uploaded the file. It must not lead out of the folder.
            let name = Path::new(&file.original_filename);
            let is_plain = name.file_name() == Some(name.as_os_str()) && file.original_filename != "-";
            let why = || {
                format!(
                    "the name of the file, {}, is not one for a local file; add -o PATH",
                    plain(&file.original_filename)
                )
            };
            is_plain.then_some(name).with_context(why)
        };
        let target = match &self.output {
            None => named()?.to_owned(),
            Some(folder) if folder.is_dir() => folder.join(named()?),
            Some(path) if path.file_name().is_some() && !path.as_os_str().as_bytes().ends_with(b"/") => path.clone(),
            Some(path) => bail!("{} is no folder, and not the name of a file", path.display()),
        };
        match target.symlink_metadata() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(target),
            Err(error) => Err(error).with_context(|| target.display().to_string()),
            Ok(there) if !there.is_file() => bail!("{} is there, and is no regular file", target.display()),
            Ok(_) if self.force => Ok(target),
            Ok(_) => Err(exists(&target)),
        }
    }
}

fn exists(target: &Path) -> anyhow::Error {
    anyhow::anyhow!("{} is there already; add --force to replace it", target.display())
}

/// Downloads into a file beside the target, which becomes the target when it is complete.
async fn to_file(transfer: &Transfer<'_>, target: &Path, force: bool) -> anyhow::Result<Downloaded> {
    let folder = target.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let part = PartFile::open(folder, &transfer.file.file_id)
        .with_context(|| format!("a file for the download in {}", folder.display()))?;
    match transfer.to_file(&part).await {
        Ok(downloaded) => match part.become_target(target, force) {
            Ok(()) => Ok(downloaded),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Err(exists(target)),
            Err(error) => Err(error).with_context(|| target.display().to_string()),
        },
        Err(DownloadError::Target(error)) => Err(error).with_context(|| part.path().display().to_string()),
        Err(error) => {
            // Bytes that are not those of the file cannot be continued.
            if matches!(error, DownloadError::Damaged(_)) {
                part.remove().with_context(|| target.display().to_string())?;
            }
            Err(error.into())
        }
    }
}

/// A finished download.
struct Done {
    /// `None` if it is standard output.
    target: Option<PathBuf>,
    file: FileBody,
    downloaded: Downloaded,
}

impl Done {
    fn print(&self) -> Result<(), OutputError> {
        if !self.downloaded.is_proven {
            note("The server has no digest of this file, so its bytes were not compared.");
        }
        let Some(target) = &self.target else { return Ok(()) };
        let (digests, target) = (self.downloaded.digests, plain(&target.to_string_lossy()));
        let json = json!({
            "file_id": self.file.file_id, "target": target, "size_bytes": self.file.size_bytes,
            "crc64nvme": digests.crc64nvme.to_string(), "sha256": digests.sha256.to_string(),
            "resumed_bytes": self.downloaded.resumed_bytes,
        });
        result(json, NOTHING, Some(target))
    }
}

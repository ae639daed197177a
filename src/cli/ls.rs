//! `partway ls`: lists files and uploads.

use std::process::ExitCode;

use clap::Args;
use indicatif::HumanBytes;

use super::{
    exit::Exit,
    output::{OutputError, OutputFlags, head, plain, result},
    retries::note_first,
    server::Server,
};
use crate::client::{FileBody, ListFilter, Page, SessionBody, Verbatim};

/// The most items that the server puts into a page.
const MAX_PAGE: u8 = 100;

#[derive(Debug, Args)]
pub(super) struct Ls {
    /// List uploads that have not ended, instead of stored files
    #[arg(long)]
    sessions: bool,
    /// List also what has ended: deleted files, and files whose upload failed; with --sessions, all uploads
    #[arg(long, short)]
    all: bool,
    /// List only files with exactly this name
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// List at most this many, the newest [default: all]
    #[arg(long, value_name = "N")]
    limit: Option<usize>,
    #[command(flatten)]
    server: Server,
    #[command(flatten)]
    pub(super) output: OutputFlags,
}

impl Ls {
    pub(super) async fn run(self) -> anyhow::Result<ExitCode> {
        if self.sessions {
            self.list_sessions().await?;
        } else {
            self.list_files().await?;
        }
        Ok(Exit::Done.into())
    }

    async fn list_files(&self) -> anyhow::Result<()> {
        head(format_args!("{:36}  {:>10}  {:16}  {:9}  NAME", "FILE_ID", "SIZE", "CREATED", "STATUS"))?;
        let (client, retry) = (self.server.client()?, self.server.retry());
        let filter = ListFilter { status: (!self.all).then_some("STORED"), ..self.filter() };
        let on_retry = note_first();
        let page = async |after: Option<String>| retry.run(&on_retry, || client.files(&filter, after.as_deref())).await;
        self.print_pages(page, |Verbatim { item: file, json }| result(json, Some(&file.file_id), Some(file_row(file))))
            .await
    }

    async fn list_sessions(&self) -> anyhow::Result<()> {
        let received = "RECEIVED";
        head(format_args!(
            "{:36}  {:11}  {received:>8}  {:>10}  {:16}  NAME",
            "SESSION_ID", "STATUS", "SIZE", "EXPIRES"
        ))?;
        let (client, retry) = (self.server.client()?, self.server.retry());
        let filter = ListFilter { open: (!self.all).then_some(true), ..self.filter() };
        let on_retry = note_first();
        let page =
            async |after: Option<String>| retry.run(&on_retry, || client.sessions(&filter, after.as_deref())).await;
        self.print_pages(page, |Verbatim { item: session, json }| {
            result(json, Some(&session.session_id), Some(session_row(session)))
        })
        .await
    }

    fn filter(&self) -> ListFilter<'_> {
        let limit = self.limit.and_then(|limit| u8::try_from(limit).ok()).unwrap_or(MAX_PAGE).clamp(1, MAX_PAGE);
        ListFilter { original_filename: self.name.as_deref(), limit: Some(limit), ..ListFilter::default() }
    }

    /// Prints the items of all pages, while they arrive.
    async fn print_pages<T, E: Into<anyhow::Error>>(
        &self,
        page: impl AsyncFn(Option<String>) -> Result<Page<T>, E>,
        print: impl Fn(&T) -> Result<(), OutputError>,
    ) -> anyhow::Result<()> {
        let (mut left, mut after) = (self.limit.unwrap_or(usize::MAX), None);
        while left > 0 {
            let Page { items, next } = page(after).await.map_err(Into::into)?;
            for item in items.iter().take(left) {
                print(item)?;
            }
            left = left.saturating_sub(items.len());
            after = match next {
                Some(next) => Some(next),
                None => break,
            };
        }
        Ok(())
    }
}

fn file_row(file: &FileBody) -> String {
    let created = file.created_at.map(|at| at.format("%F %R").to_string()).unwrap_or_default();
    let (id, size, status) = (&file.file_id, HumanBytes(file.size_bytes).to_string(), &file.status);
    format!("{id:36}  {size:>10}  {created:16}  {status:9}  {}", name(file))
}

fn session_row(session: &SessionBody) -> String {
    // A file without bytes is received as a whole.
    let percent = (session.bytes_received * 100).checked_div(session.total_size_bytes).unwrap_or(100);
    let expires = session.expires_at.format("%F %R").to_string();
    let (id, status, size) = (&session.session_id, &session.status, HumanBytes(session.total_size_bytes).to_string());
    format!("{id:36}  {status:11}  {percent:>6} %  {size:>10}  {expires:16}  {}", name(&session.file))
}

/// The path of the file in its folder, or its name.
fn name(file: &FileBody) -> String {
    plain(&file.metadata.path().unwrap_or_else(|| file.original_filename.clone()))
}

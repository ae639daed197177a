//! `partway rm` and `partway abort`: delete files, and end uploads.

use std::process::ExitCode;

use clap::Args;
use serde_json::json;

use super::{
    exit::{self, Exit},
    output::{self, NOTHING, OutputFlags, note, result},
    retries::note_first,
    server::Server,
};
use crate::client::{Client, ClientError};

#[derive(Debug, Args)]
#[command(override_usage = "partway rm [OPTIONS] <FILE_ID>...")]
pub(super) struct Rm {
    /// The ids of the files, as `partway ls` shows them
    #[arg(required = true, value_name = "FILE_ID")]
    ids: Vec<String>,
    #[command(flatten)]
    server: Server,
    #[command(flatten)]
    pub(super) output: OutputFlags,
}

#[derive(Debug, Args)]
#[command(override_usage = "partway abort [OPTIONS] <SESSION_ID>...")]
pub(super) struct Abort {
    /// The ids of the sessions, as `partway ls --sessions` shows them
    #[arg(required = true, value_name = "SESSION_ID")]
    ids: Vec<String>,
    #[command(flatten)]
    server: Server,
    #[command(flatten)]
    pub(super) output: OutputFlags,
}

impl Rm {
    pub(super) async fn run(self) -> anyhow::Result<ExitCode> {
        let delete = async |client: &Client, id: &str| client.delete_file(id).await;
        for_each(&self.ids, &self.server, ("file_id", "deleted"), delete).await
    }
}

impl Abort {
    pub(super) async fn run(self) -> anyhow::Result<ExitCode> {
        let abort = async |client: &Client, id: &str| client.abort(id).await;
        for_each(&self.ids, &self.server, ("session_id", "aborted"), abort).await
    }
}

/// Requests a change for each id. One that fails does not stop the others, unless no other can succeed.
async fn for_each(
    ids: &[String],
    server: &Server,
    (key, done): (&str, &str),
    request: impl AsyncFn(&Client, &str) -> Result<(), ClientError>,
) -> anyhow::Result<ExitCode> {
    let (client, retry, on_retry) = (server.client()?, server.retry(), note_first());
    let (mut changed, mut failures) = (0, Vec::new());
    for id in ids {
        match retry.run(&on_retry, || request(&client, id)).await {
            Ok(()) => {
                changed += 1;
                result(json!({ key: id, "result": done }), NOTHING, NOTHING)?;
                note(format_args!("{done} {id}"));
            }
            Err(error) => {
                let ends_all = !error.is_response() || error.is_retryable();
                let error = anyhow::Error::new(error);
                output::error(format_args!("error: {id}: {error:#}"));
                result(json!({ key: id, "result": "failed", "error": exit::to_json(&error) }), NOTHING, NOTHING)?;
                let exit = Exit::of(&error);
                if ends_all || exit == Exit::Token {
                    return Ok(exit.into());
                }
                failures.push(exit);
            }
        }
    }
    Ok(Exit::of_many(changed, &failures).into())
}

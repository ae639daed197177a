//! The command line: one file for each command.
//!
//! Owns arguments, output and exit codes. A command prints its result to standard output and everything else to standard
//! error, so that `TOKEN=$(partway token create --owner ci)` works.

mod adopt;
mod check;
mod config;
mod flags;
mod migrate;
mod move_data;
mod openapi;
mod output;
mod owner;
mod progress;
mod schema;
mod serve;
mod status;
mod token;
mod upload;
mod webhook;

use std::{process::ExitCode, sync::Arc, time::Duration};

use clap::{Args, Parser, Subcommand};
use humantime_serde::re::humantime::parse_duration;

use self::{flags::StoreFlags, output::OutputError};
use crate::{
    app::{self, Opening},
    client::Client,
    domain::SystemClock,
    service::Service,
};

/// The exit code that shells use for a command that SIGPIPE ended.
const CLOSED_PIPE: u8 = 141;

/// A server for resumable uploads that shows which parts have arrived, and its client.
#[derive(Debug, Parser)]
#[command(version, about)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Start the server
    Serve(serve::Serve),
    /// Create, list and revoke tokens
    Token(token::Token),
    /// Set the limits of owners, and list what they use
    Owner(owner::Owner),
    /// Add, list, test and remove webhooks, and send events again
    Webhook(webhook::Webhook),
    /// Upload a file, or resume an interrupted upload
    Upload(upload::Upload),
    /// Show which parts of an upload have arrived
    Status(status::Status),
    /// Print the GraphQL schema
    Schema,
    /// Print the OpenAPI document of the REST API
    Openapi,
    /// Show every setting with its value and where it comes from
    Config(config::ShowConfig),
    /// Create the database or bring its schema up to date, and exit
    Migrate(migrate::Migrate),
    /// Bind the database and the storage to each other after a restore or a move
    Adopt(adopt::Adopt),
    /// Move everything of a stopped server to another database and another storage
    Move(move_data::Move),
    /// Look for damage: inconsistent rows, missing bytes, and work that a crash left unfinished
    Check(check::Check),
}

impl Cli {
    /// Runs the command.
    pub async fn run(self) -> ExitCode {
        match Box::pin(self.dispatch()).await {
            Ok(code) => code,
            Err(error) => match error.downcast_ref::<OutputError>() {
                // The Rust runtime ignores SIGPIPE, so the write fails instead. Exit as if the signal had ended the process.
                Some(output) if output.is_closed_pipe() => ExitCode::from(CLOSED_PIPE),
                _ => {
                    output::note(format_args!("error: {error:#}"));
                    ExitCode::FAILURE
                }
            },
        }
    }

    async fn dispatch(self) -> anyhow::Result<ExitCode> {
        match self.command {
            Command::Serve(command) => command.run().await,
            Command::Token(command) => command.run().await,
            Command::Owner(command) => command.run().await,
            Command::Webhook(command) => command.run().await,
            Command::Upload(command) => command.run().await,
            Command::Status(command) => command.run().await,
            Command::Schema => schema::run(),
            Command::Openapi => openapi::run(),
            Command::Config(command) => command.run(),
            Command::Migrate(command) => command.run().await,
            Command::Adopt(command) => command.run().await,
            Command::Move(command) => command.run().await,
            Command::Check(command) => command.run().await,
        }
    }
}

/// Opens the database and the storage that these flags name, for commands that need no server.
async fn open_existing(stores: &StoreFlags) -> anyhow::Result<Service> {
    let opening = Opening { must_exist: true, ..Opening::default() };
    Box::pin(app::open_service(&flags::settings(stores)?, Arc::new(SystemClock), opening)).await
}

/// Runs `work` and then closes the database, also after an error.
async fn with_service<T>(
    stores: &StoreFlags,
    work: impl AsyncFnOnce(&Arc<Service>) -> anyhow::Result<T>,
) -> anyhow::Result<T> {
    let service = Arc::new(open_existing(stores).await?);
    let done = work(&service).await;
    service.close().await;
    done
}

/// The server's address and the token.
#[derive(Debug, Args)]
struct Server {
    /// The server's address
    #[arg(long = "server", env = "PARTWAY_SERVER", value_name = "URL", default_value = "http://127.0.0.1:8080")]
    url: String,
    /// The token that the server gave you
    #[arg(long, env = "PARTWAY_TOKEN", value_name = "TOKEN", hide_env_values = true)]
    token: Option<String>,
    /// How long to retry without progress, as in 90s or 2h
    ///
    /// Bytes that are sent count as progress. The client retries broken connections and temporary errors (408, 425, 429,
    /// 499 and most 5xx), and waits as long as Retry-After asks. Some errors end the command at once: an invalid
    /// certificate, a redirect, a response that does not come from Partway, and, before the server's first response, a
    /// host that is unknown or refuses connections.
    #[arg(long, env = "PARTWAY_RETRY_FOR", value_name = "DURATION", default_value = "5m", value_parser = parse_duration)]
    retry_for: Duration,
}

impl Server {
    fn client(&self) -> anyhow::Result<Client> {
        let token = self.token.as_deref().filter(|token| !token.is_empty());
        let missing = || {
            anyhow::anyhow!("no token: set PARTWAY_TOKEN or add --token; the server printed a token at its first start")
        };
        Ok(Client::new(&self.url, token.ok_or_else(missing)?)?)
    }
}

/// An error with its causes. Only the operator at the command line sees them; a remote client never does.
fn internal(error: crate::error::Error) -> anyhow::Error {
    anyhow::anyhow!("{}", error.with_causes())
}

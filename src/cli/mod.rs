//! The command line: one file a command.
//!
//! Owns arguments, what is printed where, and exit codes. Standard output carries what was asked for, standard error
//! everything else, so that `TOKEN=$(partway token create --owner ci)` works.

mod adopt;
mod check;
mod config;
mod flags;
mod migrate;
mod output;
mod progress;
mod schema;
mod serve;
mod status;
mod token;
mod upload;

use std::{process::ExitCode, sync::Arc, time::Duration};

use clap::{Args, Parser, Subcommand};
use humantime_serde::re::humantime::parse_duration;

use self::{flags::StoreFlags, output::OutputError};
use crate::{app, client::Client, domain::SystemClock, service::Service};

/// What a shell reports for a command that SIGPIPE ended.
const CLOSED_PIPE: u8 = 141;

/// A resumable-upload server that can be asked what has arrived, and its client.
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
    /// Make, list and revoke tokens
    Token(token::Token),
    /// Upload a file, or go on with an upload that was interrupted
    Upload(upload::Upload),
    /// Show which parts of an upload have arrived
    Status(status::Status),
    /// Print the GraphQL schema
    Schema,
    /// Show every setting with its value and where it comes from
    Config(config::ShowConfig),
    /// Bring the database's schema up to date, and do nothing else
    Migrate(migrate::Migrate),
    /// Bind the database and the storage to each other, after a restore or a move
    Adopt(adopt::Adopt),
    /// Look for damage: rows that disagree, bytes that are gone, what a crash left unfinished
    Check(check::Check),
}

impl Cli {
    /// Runs the command.
    pub async fn run(self) -> ExitCode {
        match Box::pin(self.dispatch()).await {
            Ok(code) => code,
            Err(error) => match error.downcast_ref::<OutputError>() {
                // As if the signal had ended it, which the Rust runtime turns into an error.
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
            Command::Upload(command) => command.run().await,
            Command::Status(command) => command.run().await,
            Command::Schema => schema::run(),
            Command::Config(command) => command.run(),
            Command::Migrate(command) => command.run().await,
            Command::Adopt(command) => command.run().await,
            Command::Check(command) => command.run().await,
        }
    }
}

/// The use cases over the stores that these flags name, for commands that need no server.
async fn open_existing(stores: &StoreFlags) -> anyhow::Result<Service> {
    Box::pin(app::open_existing_service(&flags::settings(stores)?, Arc::new(SystemClock))).await
}

/// Does the work, and closes the database whatever came of it.
async fn with_service<T>(
    stores: &StoreFlags,
    work: impl AsyncFnOnce(&Arc<Service>) -> anyhow::Result<T>,
) -> anyhow::Result<T> {
    let service = Arc::new(open_existing(stores).await?);
    let done = work(&service).await;
    service.close().await;
    done
}

/// Which server to talk to, and as whom.
#[derive(Debug, Args)]
struct Server {
    /// The server's address
    #[arg(long = "server", env = "PARTWAY_SERVER", value_name = "URL", default_value = "http://127.0.0.1:8080")]
    url: String,
    /// The token that the server gave you
    #[arg(long, env = "PARTWAY_TOKEN", value_name = "TOKEN", hide_env_values = true)]
    token: Option<String>,
    /// How long to try again without progress, as in 90s or 2h
    ///
    /// Bytes that move are progress. Connections that break, and what a server or a proxy says to pass (408, 425, 429, 499
    /// and most 5xx, with Retry-After), are tried again. What does not pass ends the command at once: a bad certificate,
    /// a redirect, an answer that is not Partway's, and, before the server has answered for the first time, a host that
    /// is unknown or refuses connections.
    #[arg(long, env = "PARTWAY_RETRY_FOR", value_name = "DURATION", default_value = "5m", value_parser = parse_duration)]
    retry_for: Duration,
}

impl Server {
    fn client(&self) -> anyhow::Result<Client> {
        let token = self.token.as_deref().filter(|token| !token.is_empty());
        let missing = || {
            anyhow::anyhow!("no token: set PARTWAY_TOKEN, or say --token; the server printed one at its first start")
        };
        Ok(Client::new(&self.url, token.ok_or_else(missing)?)?)
    }
}

/// A use case's error, for a person at the command line: with its cause, which a caller from outside never sees.
fn internal(error: crate::error::Error) -> anyhow::Error {
    anyhow::anyhow!("{}", error.with_causes())
}

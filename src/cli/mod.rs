//! The command line: one file for each command.
//!
//! Owns arguments, output and exit codes. A command prints its result to standard output and everything else to standard
//! error, so that `TOKEN=$(partway token create --owner ci)` works.

mod adopt;
mod check;
mod completions;
mod config;
mod download;
mod exit;
mod flags;
mod internal;
mod ls;
mod man;
mod migrate;
mod move_data;
mod openapi;
mod output;
mod owner;
mod progress;
mod remove;
mod retries;
mod schema;
mod serve;
mod server;
mod status;
mod token;
mod upload;
mod usage;
mod webhook;

use std::{process::ExitCode, sync::Arc};

use clap::{Parser, Subcommand};
use serde_json::json;

use self::{exit::Exit, flags::StoreFlags, internal::internal, output::OutputFlags};
use crate::{
    app::{self, Opening},
    domain::SystemClock,
    service::Service,
};

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
    /// Upload files and folders, or resume interrupted uploads
    Upload(upload::Upload),
    /// Download a file, or resume an interrupted download
    Download(download::Download),
    /// List files, or open uploads
    Ls(ls::Ls),
    /// Show which parts of an upload have arrived
    Status(status::Status),
    /// Delete files
    Rm(remove::Rm),
    /// End uploads without a file
    Abort(remove::Abort),
    /// Print the GraphQL schema
    Schema,
    /// Print the OpenAPI document of the REST API
    Openapi,
    /// Print a script that completes commands in a shell
    Completions(completions::Completions),
    /// Print this manual as a page for man, as in `partway man | man -l -`
    Man,
    /// Show every setting with its value and where it comes from
    Config(config::ShowConfig),
    /// Create the database or bring its schema up to date, and exit
    Migrate(migrate::Migrate),
    /// Bind the database and the storage to each other after a restore or a copy by hand
    Adopt(adopt::Adopt),
    /// Move everything of a stopped server to another database and another storage
    Move(move_data::Move),
    /// Look for damage: inconsistent rows, missing bytes, and work that a crash left unfinished
    Check(check::Check),
}

impl Cli {
    /// Runs the command.
    pub async fn run(self) -> ExitCode {
        self.command.output().apply();
        let error = match Box::pin(self.dispatch()).await {
            Ok(code) => return code,
            Err(error) => error,
        };
        let exit = Exit::of(&error);
        // The Rust runtime ignores SIGPIPE, so the write fails instead. Exit as if the signal had ended the process.
        if exit != Exit::ClosedPipe {
            output::error(format_args!("error: {error:#}"));
            if output::is_json() {
                let _ = output::answer(json!({ "error": exit::to_json(&error) }));
            }
        }
        exit.into()
    }

    async fn dispatch(self) -> anyhow::Result<ExitCode> {
        match self.command {
            Command::Serve(command) => command.run().await,
            Command::Token(command) => command.run().await,
            Command::Owner(command) => command.run().await,
            Command::Webhook(command) => command.run().await,
            Command::Upload(command) => command.run().await,
            Command::Download(command) => command.run().await,
            Command::Ls(command) => command.run().await,
            Command::Status(command) => command.run().await,
            Command::Rm(command) => command.run().await,
            Command::Abort(command) => command.run().await,
            Command::Schema => schema::run(),
            Command::Openapi => openapi::run(),
            Command::Completions(command) => command.run(),
            Command::Man => man::run(),
            Command::Config(command) => command.run(),
            Command::Migrate(command) => command.run().await,
            Command::Adopt(command) => command.run().await,
            Command::Move(command) => Box::pin(command.run()).await,
            Command::Check(command) => command.run().await,
        }
    }
}

impl Command {
    /// The form of the output that the flags choose.
    fn output(&self) -> OutputFlags {
        match self {
            Self::Token(command) => command.output,
            Self::Owner(command) => command.output,
            Self::Webhook(command) => command.output,
            Self::Upload(command) => command.output,
            Self::Download(command) => command.form,
            Self::Ls(command) => command.output,
            Self::Status(command) => command.output,
            Self::Rm(command) => command.output,
            Self::Abort(command) => command.output,
            Self::Config(command) => command.output,
            Self::Migrate(command) => command.output,
            Self::Adopt(command) => command.output,
            Self::Move(command) => command.output,
            Self::Check(command) => command.output,
            // Their output is a document, a script or a log.
            Self::Serve(_) | Self::Schema | Self::Openapi | Self::Completions(_) | Self::Man => OutputFlags::default(),
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

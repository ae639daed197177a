//! The settings that can be given as flags, and reading all settings with them.
//!
//! Owns which settings have a flag. What a setting means and may be is `config`'s.

use std::collections::HashSet;

use clap::{Args, Command, CommandFactory};
use serde::Serialize;

use super::Cli;
use crate::config::{Config, Sources};

/// The flags of `partway serve`.
#[derive(Clone, Debug, Default, Serialize, Args)]
pub(super) struct ServeFlags {
    /// Address and port to listen on.
    #[arg(long, env = "PARTWAY_LISTEN", value_name = "ADDR")]
    #[serde(skip_serializing_if = "Option::is_none")]
    listen: Option<String>,
    #[command(flatten)]
    #[serde(flatten)]
    stores: StoreFlags,
}

/// Where the data is: the flags of every command that opens it.
#[derive(Clone, Debug, Default, Serialize, Args)]
pub(super) struct StoreFlags {
    /// Folder for the database and the files.
    #[arg(long, env = "PARTWAY_DATA", value_name = "DIR")]
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<String>,
    /// SQLite file or PostgreSQL URL, as in postgres://USER@HOST/DATABASE [default: SQLite in the data folder].
    #[arg(long, env = "PARTWAY_DATABASE", value_name = "FILE|URL", hide_env_values = true)]
    #[serde(skip_serializing_if = "Option::is_none")]
    database: Option<String>,
    /// Folder or object store for the bytes, as in s3://BUCKET/PREFIX [default: files in the data folder].
    #[arg(long, env = "PARTWAY_STORAGE", value_name = "DIR|URL", hide_env_values = true)]
    #[serde(skip_serializing_if = "Option::is_none")]
    storage: Option<String>,
}

/// The settings in force for this process.
pub(super) fn settings(flags: &impl Serialize) -> anyhow::Result<Config> {
    sources(flags)?.config()
}

/// The same, with where each value comes from.
pub(super) fn sources(flags: &impl Serialize) -> anyhow::Result<Sources> {
    let mut of_commands = HashSet::new();
    add_variables(&Cli::command(), &mut of_commands);
    Sources::read(flags, &of_commands)
}

/// The environment variables that a command and its subcommands take; those of the client are no settings.
fn add_variables(command: &Command, found: &mut HashSet<String>) {
    let names = command.get_arguments().filter_map(|argument| argument.get_env()?.to_str());
    found.extend(names.map(str::to_owned));
    command.get_subcommands().for_each(|command| add_variables(command, found));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_of_the_client_are_found_on_its_commands() {
        let mut found = HashSet::new();
        add_variables(&Cli::command(), &mut found);
        for name in ["PARTWAY_TOKEN", "PARTWAY_SERVER", "PARTWAY_DATA"] {
            assert!(found.contains(name), "{name}");
        }
    }
}

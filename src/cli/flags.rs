//! Settings as flags.
//!
//! Owns which settings have a flag, and reads all settings together with the flags. Does not own their meaning and
//! valid values: those are in `config`.

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

/// The flags of every command that opens the database or the storage.
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

/// The settings of this process.
pub(super) fn settings(flags: &impl Serialize) -> anyhow::Result<Config> {
    sources(flags)?.config()
}

/// The settings of this process with the source of each value.
pub(super) fn sources(flags: &impl Serialize) -> anyhow::Result<Sources> {
    let mut of_commands = HashSet::new();
    add_variables(&Cli::command(), &mut of_commands);
    Sources::read(flags, &of_commands)
}

/// Adds the environment variables that a command and its subcommands read. The client's variables are not settings.
fn add_variables(command: &Command, found: &mut HashSet<String>) {
    let names = command.get_arguments().filter_map(|argument| argument.get_env()?.to_str());
    found.extend(names.map(str::to_owned));
    command.get_subcommands().for_each(|command| add_variables(command, found));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_variables_of_all_commands_are_found() {
        let mut found = HashSet::new();
        add_variables(&Cli::command(), &mut found);
        for name in ["PARTWAY_TOKEN", "PARTWAY_TOKEN_FILE", "PARTWAY_CA_FILE", "PARTWAY_SERVER", "PARTWAY_DATA"] {
            assert!(found.contains(name), "{name}");
        }
    }
}

//! `partway config`: prints every setting with its value and its source, or only checks them.

use std::process::ExitCode;

use clap::{Args, Subcommand};

use serde_json::json;

use super::{
    flags::ServeFlags,
    output::{NOTHING, OutputFlags, note, result},
};

#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(super) struct ShowConfig {
    #[command(flatten)]
    flags: ServeFlags,
    #[command(subcommand)]
    action: Option<Action>,
    #[command(flatten)]
    pub(super) output: OutputFlags,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Only check the settings
    Check(Check),
}

#[derive(Debug, Args)]
struct Check {
    #[command(flatten)]
    flags: ServeFlags,
}

impl ShowConfig {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        match self.action {
            Some(Action::Check(check)) => {
                crate::app::check(&super::flags::settings(&check.flags)?)?;
                note("the settings are valid");
                result(json!({ "result": "valid" }), NOTHING, NOTHING)?;
            }
            None => {
                let sources = super::flags::sources(&self.flags)?;
                for setting in sources.settings() {
                    let line = format!("{} = {}", setting.name, setting.value);
                    let json = json!({ "name": setting.name, "value": setting.value, "source": setting.source });
                    result(json, Some(&line), Some(format_args!("{line:<60} # {}", setting.source)))?;
                }
                // Print the settings before the check, so that the invalid one is visible.
                crate::app::check(&sources.config()?)?;
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}

//! `partway config`: prints every setting with its value and its source, or only checks them.

use std::process::ExitCode;

use clap::{Args, Subcommand};

use super::{flags::ServeFlags, output};

#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(super) struct ShowConfig {
    #[command(flatten)]
    flags: ServeFlags,
    #[command(subcommand)]
    action: Option<Action>,
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
                output::note("the settings are valid");
            }
            None => {
                let sources = super::flags::sources(&self.flags)?;
                let lines = sources.settings().map(|setting| {
                    let line = format!("{} = {}", setting.name, setting.value);
                    format!("{line:<60} # {}", setting.source)
                });
                output::answer(lines.collect::<Vec<_>>().join("\n"))?;
                // Print the settings before the check, so that the invalid one is visible.
                crate::app::check(&sources.config()?)?;
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}

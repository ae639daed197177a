//! `partway completions`: prints a script that completes commands in a shell.

use std::process::ExitCode;

use clap::{Args, CommandFactory};
use clap_complete::Shell;

use super::{Cli, exit::Exit, output::answer};

#[derive(Debug, Args)]
pub(super) struct Completions {
    /// The shell
    shell: Shell,
}

impl Completions {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut Cli::command(), "partway", &mut script);
        answer(String::from_utf8(script)?.trim_end())?;
        Ok(Exit::Done.into())
    }
}

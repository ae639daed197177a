//! The `partway` command: parses the arguments, runs the command and returns its exit code.
#![warn(clippy::print_stdout, clippy::print_stderr)]

use std::{process::ExitCode, time::Duration};

use clap::Parser;
use partway::cli::Cli;
use tokio::runtime::Runtime;

/// How long the end of the process waits for calls of the system that cannot be cancelled, such as the look-up of a name.
const MAX_END: Duration = Duration::from_secs(1);

fn main() -> ExitCode {
    let cli = Cli::parse();
    let runtime = Runtime::new().expect("a process can start threads");
    let code = runtime.block_on(cli.run());
    runtime.shutdown_timeout(MAX_END);
    code
}

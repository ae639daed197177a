//! `partway schema`

use std::process::ExitCode;

use crate::app;

pub(super) fn run() -> anyhow::Result<ExitCode> {
    print!("{}", app::sdl());
    Ok(ExitCode::SUCCESS)
}

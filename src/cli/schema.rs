//! `partway schema`

use std::process::ExitCode;

use crate::graphql;

pub(super) fn run() -> anyhow::Result<ExitCode> {
    print!("{}", graphql::sdl());
    Ok(ExitCode::SUCCESS)
}

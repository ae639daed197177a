//! `partway schema`: prints the GraphQL schema.

use std::process::ExitCode;

use super::output::answer;
use crate::app;

pub(super) fn run() -> anyhow::Result<ExitCode> {
    answer(app::sdl().trim_end())?;
    Ok(ExitCode::SUCCESS)
}

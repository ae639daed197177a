//! `partway openapi`: prints the OpenAPI document of the REST API.

use std::process::ExitCode;

use super::output::answer;
use crate::app;

pub(super) fn run() -> anyhow::Result<ExitCode> {
    answer(app::openapi(None)?)?;
    Ok(ExitCode::SUCCESS)
}

//! `partway schema`

use std::process::ExitCode;

use crate::app;

pub(super) fn run() -> ExitCode {
    print!("{}", app::sdl());
    ExitCode::SUCCESS
}

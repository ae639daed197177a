//! `partway migrate`: creates the database or brings its schema up to date.

use std::process::ExitCode;

use clap::Args;

use super::flags::StoreFlags;

use crate::app;

#[derive(Debug, Args)]
pub(super) struct Migrate {
    #[command(flatten)]
    stores: StoreFlags,
}

impl Migrate {
    pub(super) async fn run(self) -> anyhow::Result<ExitCode> {
        // The server runs the same migrations at every start.
        app::migrate(&super::flags::settings(&self.stores)?).await?.close().await;
        super::output::note("the database is up to date");
        Ok(ExitCode::SUCCESS)
    }
}

//! `partway migrate`

use std::process::ExitCode;

use clap::Args;

use crate::{
    app,
    config::{Config, StoreOverrides},
};

#[derive(Debug, Args)]
pub(super) struct Migrate {
    #[command(flatten)]
    stores: StoreOverrides,
}

impl Migrate {
    pub(super) async fn run(self) -> anyhow::Result<ExitCode> {
        // The server does the same at every start.
        app::migrate(&Config::load(&self.stores)?).await?;
        super::output::note("the database is up to date");
        Ok(ExitCode::SUCCESS)
    }
}

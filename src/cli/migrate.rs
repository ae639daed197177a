//! `partway migrate`

use std::process::ExitCode;

use clap::Args;

use crate::config::StoreOverrides;

#[derive(Debug, Args)]
pub(super) struct Migrate {
    #[command(flatten)]
    stores: StoreOverrides,
}

impl Migrate {
    pub(super) async fn run(self) -> anyhow::Result<ExitCode> {
        // Opening does it; the server does the same at every start.
        super::open_service(&self.stores).await?;
        eprintln!("the database is up to date");
        Ok(ExitCode::SUCCESS)
    }
}

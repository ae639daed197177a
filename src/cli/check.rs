//! `partway check`

use std::process::ExitCode;

use clap::Args;

use super::flags::StoreFlags;

#[derive(Debug, Args)]
pub(super) struct Check {
    #[command(flatten)]
    stores: StoreFlags,
}

impl Check {
    pub(super) async fn run(self) -> anyhow::Result<ExitCode> {
        let service = super::open_existing(&self.stores).await?;
        service.bind_storage().await.map_err(super::internal)?;
        let report = service.check().await.map_err(super::internal)?;
        service.checkpoint().await;
        for problem in &report.problems {
            super::output::answer(problem)?;
        }
        super::output::note(format_args!(
            "{} sessions and {} stored files checked, {} problems",
            report.sessions,
            report.files,
            report.problems.len()
        ));
        Ok(if report.problems.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}

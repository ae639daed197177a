//! `partway migrate`: creates the database or brings its schema up to date.

use std::process::ExitCode;

use clap::Args;
use serde_json::json;

use super::{
    flags::StoreFlags,
    output::{NOTHING, OutputFlags, note, result},
};
use crate::app;

#[derive(Debug, Args)]
pub(super) struct Migrate {
    #[command(flatten)]
    stores: StoreFlags,
    #[command(flatten)]
    pub(super) output: OutputFlags,
}

impl Migrate {
    pub(super) async fn run(self) -> anyhow::Result<ExitCode> {
        // The server runs the same migrations at every start.
        app::migrate(&super::flags::settings(&self.stores)?).await?.close().await;
        note("the database is up to date");
        result(json!({ "result": "up_to_date" }), NOTHING, NOTHING)?;
        Ok(ExitCode::SUCCESS)
    }
}

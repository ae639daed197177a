//! `partway adopt`: binds a database and a storage to each other.

use std::{process::ExitCode, sync::Arc};

use clap::Args;
use serde_json::json;

use super::{
    flags::StoreFlags,
    output::{NOTHING, OutputFlags, note, result},
};
use crate::{
    app::{self, Lock, Opening},
    domain::SystemClock,
};

#[derive(Debug, Args)]
pub(super) struct Adopt {
    #[command(flatten)]
    stores: StoreFlags,
    #[command(flatten)]
    pub(super) output: OutputFlags,
}

impl Adopt {
    pub(super) async fn run(self) -> anyhow::Result<ExitCode> {
        let config = super::flags::settings(&self.stores)?;
        // Open the service before the lock: with a mistyped path this fails, and the lock file is not created.
        let opening = Opening { must_exist: true, ..Opening::default() };
        let service = Box::pin(app::open_service(&config, Arc::new(SystemClock), opening)).await?;
        let adopt = async {
            let _lock = Lock::take(&config)?;
            service.adopt_storage().await.map_err(super::internal)
        };
        let adopted = adopt.await;
        service.close().await;
        let id = adopted?;
        note(format_args!("the database and the storage are now bound to each other by the new id {id}"));
        result(json!({ "id": id.to_string() }), Some(id), NOTHING)?;
        Ok(ExitCode::SUCCESS)
    }
}

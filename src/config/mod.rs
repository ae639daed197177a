//! The settings of the server.
//!
//! Owns the sources of the settings and the check of their values. Does not own the settings of single modules: each
//! module defines the type of its own settings. Nothing below `app` imports this module.

mod settings;
mod sources;
mod targets;
mod validate;

use std::path::PathBuf;

use serde::Serialize;

pub use self::{
    settings::{Config, ServerSettings, StoreSettings},
    sources::{Setting, Sources},
    targets::{DatabaseTarget, StorageTarget},
};

impl Config {
    /// The same settings with another database and another storage. Empty texts mean those in the folder `data`.
    ///
    /// # Errors
    /// A setting does not fit the new database or storage. The message names it.
    pub fn with_stores(&self, data: Option<PathBuf>, database: String, storage: String) -> anyhow::Result<Self> {
        let mut config = self.clone();
        config.stores.data = data.unwrap_or(config.stores.data);
        (config.stores.database, config.stores.storage) = (database, storage);
        config.validate()?;
        Ok(config)
    }

    /// The defaults and these settings. Ignores the environment and the working directory. For tests.
    ///
    /// # Errors
    /// A setting does not exist or has an invalid value.
    pub fn from_defaults(settings: &impl Serialize) -> anyhow::Result<Self> {
        Sources::from(figment::Figment::new(), std::iter::empty(), settings)?.config()
    }
}

//! The settings of the server, put together: where each value comes from, and which values are possible.
//!
//! A module defines the settings that it takes; this one reads them all. Nothing below `app` imports it.

mod settings;
mod sources;
mod targets;
mod validate;

use serde::Serialize;

pub use self::{
    settings::{Config, ServerSettings, StoreSettings},
    sources::{Setting, Sources},
    targets::{DatabaseTarget, StorageTarget},
};

impl Config {
    /// The defaults and these settings, whatever the environment and the working directory hold: for tests.
    ///
    /// # Errors
    /// A setting that there is not, or that cannot have its value.
    pub fn from_defaults(settings: &impl Serialize) -> anyhow::Result<Self> {
        Sources::from(figment::Figment::new(), std::iter::empty(), settings)?.config()
    }
}

//! The settings of the server: what there is, where it comes from, what it may be.
//!
//! Owns the whole of the settings. What a part of the server does with its own is that part's.

mod settings;
mod sources;
mod targets;
mod validate;

use serde::Serialize;

pub use self::{
    settings::{Config, ConnectionSettings, FileSha256, GraphqlSettings, Limits, LogFormat, SyncParts},
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

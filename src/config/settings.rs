//! All settings: those that each module takes, and those that wire the server.
//!
//! A module owns the type of its own settings; the types here are of what no module below takes as it is.
//! `config.default.toml` says what each setting means, and has its default.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use anyhow::{Context, ensure};
use bytesize::ByteSize;
use serde::Deserialize;
use url::Url;

use crate::{
    graphql::{DocumentSettings, GraphqlSettings},
    http::ConnectionSettings,
    logs::LogFormat,
    service::Limits,
    storage::SyncParts,
};

/// Every setting of the server.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where the server listens, and what it tells of itself.
    pub server: ServerSettings,
    /// Where rows and bytes are.
    pub stores: StoreSettings,
    /// The limits that the use cases apply.
    pub limits: Limits,
    /// How many connections there may be, and for how long.
    pub connections: ConnectionSettings,
    /// What a GraphQL request may cost.
    pub graphql: GraphqlSettings,
    /// Which GraphQL documents may be executed.
    pub documents: DocumentSettings,
}

/// Where the server listens, and what it tells of itself.
#[derive(Clone, Debug, Deserialize)]
#[expect(missing_docs, reason = "config.default.toml is their documentation")]
pub struct ServerSettings {
    pub listen: SocketAddr,
    pub public_url: String,
    pub cors_origins: String,
    #[serde(with = "humantime_serde")]
    pub sweep_interval: Duration,
    pub log_format: LogFormat,
}

/// Where rows and bytes are.
#[derive(Clone, Debug, Deserialize)]
#[expect(missing_docs, reason = "config.default.toml is their documentation")]
pub struct StoreSettings {
    pub data: PathBuf,
    pub database: String,
    pub database_connections: u32,
    pub storage: String,
    pub storage_memory: ByteSize,
    pub min_free_space: ByteSize,
    pub sync: SyncParts,
}

impl ServerSettings {
    /// The address under which clients reach this server, if it is set.
    ///
    /// # Errors
    /// Anything but an `http` or `https` URL that ends with its path.
    pub fn public_url(&self) -> anyhow::Result<Option<Url>> {
        if self.public_url.is_empty() {
            return Ok(None);
        }
        let url = Url::parse(&self.public_url).context("public_url")?;
        let is_plain =
            url.query().is_none() && url.fragment().is_none() && url.username().is_empty() && url.password().is_none();
        ensure!(
            ["http", "https"].contains(&url.scheme()) && is_plain,
            "public_url must be an address such as https://example.org or https://example.org/partway"
        );
        Ok(Some(url))
    }

    /// The origins whose pages may use this server.
    pub fn cors_origins(&self) -> impl Iterator<Item = &str> {
        self.cors_origins.split(',').map(str::trim).filter(|origin| !origin.is_empty())
    }
}

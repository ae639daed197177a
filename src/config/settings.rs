//! The types of the settings.
//!
//! Owns the type of all settings, the settings of the server itself and those of the stores. Does not own the settings
//! of the other modules: each of these modules has its own type (`service/limits.rs`, `http/settings.rs`,
//! `graphql/settings.rs`, `webhooks/settings.rs`, `identity/settings.rs`, `traces/settings.rs`, `logs.rs`, and `SyncParts` in
//! `storage/local`). `config.default.toml` documents every setting
//! and has its default. A new setting needs a field in one of these types, an entry in `config.default.toml`, and a
//! check in `config/validate.rs` if not every value is valid.

use std::{net::SocketAddr, path::PathBuf};

use anyhow::{Context, ensure};
use bytesize::ByteSize;
use serde::Deserialize;
use url::Url;

use crate::{
    graphql::{DocumentSettings, GraphqlSettings},
    http::ConnectionSettings,
    identity::JwtSettings,
    logs::LogFormat,
    service::Limits,
    storage::SyncParts,
    traces::TraceSettings,
    webhooks::WebhookSettings,
};

/// Every setting of the server.
#[derive(Clone, Debug)]
pub struct Config {
    /// The settings of the server itself.
    pub server: ServerSettings,
    /// Where the database and the storage are.
    pub stores: StoreSettings,
    /// The limits that the use cases apply.
    pub limits: Limits,
    /// Which tokens of an identity provider the server accepts.
    pub identity: JwtSettings,
    /// The limits and the time-outs of connections.
    pub connections: ConnectionSettings,
    /// The limits of GraphQL requests.
    pub graphql: GraphqlSettings,
    /// Which GraphQL documents the server executes.
    pub documents: DocumentSettings,
    /// How the server sends events to webhooks.
    pub webhooks: WebhookSettings,
    /// Which traces the server exports, and where to.
    pub traces: TraceSettings,
}

/// The settings of the server itself.
#[derive(Clone, Debug, Deserialize)]
#[expect(missing_docs, reason = "config.default.toml is their documentation")]
pub struct ServerSettings {
    pub listen: SocketAddr,
    pub public_url: String,
    pub cors_origins: String,
    pub log_format: LogFormat,
}

/// Where the database and the storage are.
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
    /// The URL at which clients reach this server, if it is set.
    ///
    /// # Errors
    /// The URL is not `http` or `https`, or has a user, a password, a query or a fragment.
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

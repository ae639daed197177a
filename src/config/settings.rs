//! The settings themselves, and the shapes in which the modules take them.
//!
//! Owns one line per setting; `config.default.toml` owns what each means and its default.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, ensure};
use bytesize::ByteSize;
use serde::Deserialize;
use url::Url;

/// Every setting of the server; see `config.default.toml` for what each means.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "config.default.toml is their documentation")]
pub struct Config {
    pub listen: SocketAddr,
    pub data: PathBuf,
    pub database: String,
    pub database_connections: u32,
    pub storage: String,
    pub storage_memory: ByteSize,
    pub min_free_space: ByteSize,
    pub sync: SyncParts,
    pub file_sha256: FileSha256,
    pub chunk_size: ByteSize,
    pub max_parts: u32,
    pub max_file_size: ByteSize,
    pub max_open_sessions: u64,
    pub max_streams_per_owner: u64,
    #[serde(with = "humantime_serde")]
    pub session_ttl: Duration,
    #[serde(with = "humantime_serde")]
    pub sweep_interval: Duration,
    #[serde(with = "humantime_serde")]
    pub body_idle_timeout: Duration,
    pub min_transfer_rate: ByteSize,
    pub max_connections: u32,
    pub max_connections_per_address: u32,
    #[serde(with = "humantime_serde")]
    pub keep_alive_timeout: Duration,
    #[serde(with = "humantime_serde")]
    pub drain_delay: Duration,
    #[serde(with = "humantime_serde")]
    pub shutdown_timeout: Duration,
    pub public_url: String,
    pub cors_origins: String,
    pub graphql_max_document_bytes: u64,
    pub graphql_max_depth: usize,
    pub graphql_max_complexity: usize,
    pub graphql_max_aliases: usize,
    pub graphql_max_root_fields: usize,
    pub graphql_max_directives: usize,
    pub graphql_max_introspection_lists: usize,
    pub graphql_max_response_bytes: ByteSize,
    #[serde(with = "humantime_serde")]
    pub graphql_timeout: Duration,
    pub graphql_trusted_documents: String,
    pub graphql_trusted_only: bool,
    pub graphql_introspection: bool,
    pub graphql_suggestions: bool,
    pub log_format: LogFormat,
}

/// When a part's bytes are durable, in a folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SyncParts {
    /// Before the part is acknowledged.
    Always,
    /// When the operating system gets to it.
    Os,
}

/// When the whole file's SHA-256 is computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FileSha256 {
    /// For every file.
    Always,
    /// When the client says one, at creation or at finalize.
    OnRequest,
}

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line, for log collectors.
    Json,
}

impl Config {
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

    /// The file of trusted documents, if there is one.
    pub fn graphql_trusted_documents(&self) -> Option<&Path> {
        Some(Path::new(&self.graphql_trusted_documents)).filter(|path| !path.as_os_str().is_empty())
    }

    /// Who may be connected, and for how long.
    pub fn connections(&self) -> ConnectionSettings {
        ConnectionSettings {
            max_connections: self.max_connections,
            max_connections_per_address: self.max_connections_per_address,
            keep_alive_timeout: self.keep_alive_timeout,
            body_idle_timeout: self.body_idle_timeout,
            min_transfer_rate: self.min_transfer_rate.0,
            drain_delay: self.drain_delay,
            shutdown_timeout: self.shutdown_timeout,
        }
    }

    /// What GraphQL requests may cost.
    pub fn graphql(&self) -> GraphqlSettings {
        GraphqlSettings {
            max_document_bytes: self.graphql_max_document_bytes,
            max_depth: self.graphql_max_depth,
            max_complexity: self.graphql_max_complexity,
            max_aliases: self.graphql_max_aliases,
            max_root_fields: self.graphql_max_root_fields,
            max_directives: self.graphql_max_directives,
            max_introspection_lists: self.graphql_max_introspection_lists,
            max_response_bytes: self.graphql_max_response_bytes.0,
            timeout: self.graphql_timeout,
            introspection: self.graphql_introspection,
            suggestions: self.graphql_suggestions,
        }
    }

    /// The limits that use cases apply.
    pub fn limits(&self) -> Limits {
        Limits {
            chunk_size_bytes: self.chunk_size.0,
            max_parts: self.max_parts,
            max_file_size_bytes: self.max_file_size.0,
            max_open_sessions: self.max_open_sessions,
            max_streams_per_owner: self.max_streams_per_owner,
            hashes_every_file: self.file_sha256 == FileSha256::Always,
            session_ttl: chrono::TimeDelta::from_std(self.session_ttl).unwrap_or(chrono::TimeDelta::MAX),
        }
    }
}

/// The limits that use cases apply.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Preferred size of a part.
    pub chunk_size_bytes: u64,
    /// Most parts in one session.
    pub max_parts: u32,
    /// Largest file.
    pub max_file_size_bytes: u64,
    /// Most sessions that one owner may have open.
    pub max_open_sessions: u64,
    /// Most streams that one owner may have open.
    pub max_streams_per_owner: u64,
    /// Whether the whole file's SHA-256 is computed for every file.
    pub hashes_every_file: bool,
    /// How long an untouched session stays open.
    pub session_ttl: chrono::TimeDelta,
}

/// Who may be connected, and for how long; see `config.default.toml` for what each means.
#[derive(Clone, Copy, Debug)]
#[expect(missing_docs, reason = "config.default.toml is their documentation")]
pub struct ConnectionSettings {
    pub max_connections: u32,
    pub max_connections_per_address: u32,
    pub keep_alive_timeout: Duration,
    pub body_idle_timeout: Duration,
    pub min_transfer_rate: u64,
    pub drain_delay: Duration,
    pub shutdown_timeout: Duration,
}

/// What GraphQL requests may cost; see `config.default.toml` for what each means.
#[derive(Clone, Copy, Debug)]
#[expect(missing_docs, reason = "config.default.toml is their documentation")]
pub struct GraphqlSettings {
    pub max_document_bytes: u64,
    pub max_depth: usize,
    pub max_complexity: usize,
    pub max_aliases: usize,
    pub max_root_fields: usize,
    pub max_directives: usize,
    pub max_introspection_lists: usize,
    pub max_response_bytes: u64,
    pub timeout: Duration,
    pub introspection: bool,
    pub suggestions: bool,
}

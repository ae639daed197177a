//! Settings: where they come from and what they may be.
//!
//! Owns the order embedded defaults < `partway.toml` < environment < flags, and refuses what it does not know. The
//! defaults are the commented file `config.default.toml` itself, so the two cannot differ.

mod targets;

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, bail};
use bytesize::ByteSize;
use figment::{
    Figment,
    providers::{Format, Serialized, Toml},
    value::{Dict, Value},
};
use serde::{Deserialize, Serialize};

pub use self::targets::{DatabaseTarget, StorageTarget};
use crate::domain::PartPlan;

/// The embedded defaults.
pub const DEFAULTS: &str = include_str!("../config.default.toml");
/// The file in the working directory that may override them.
pub const FILE: &str = "partway.toml";
/// Far enough that no time of day overflows.
const LONGEST_TTL: Duration = Duration::from_hours(100 * 365 * 24);
const ENV_PREFIX: &str = "PARTWAY_";
/// Variables with our prefix that are the client's, not the server's.
const CLIENT_VARIABLES: [&str; 8] = ["server", "token", "parallel", "new", "watch", "owner", "name", "expires_in"];

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
    pub sync: SyncParts,
    pub file_sha256: FileSha256,
    pub chunk_size: ByteSize,
    pub max_parts: u32,
    pub max_file_size: ByteSize,
    pub max_open_sessions: u64,
    #[serde(with = "humantime_serde")]
    pub session_ttl: Duration,
    #[serde(with = "humantime_serde")]
    pub sweep_interval: Duration,
    #[serde(with = "humantime_serde")]
    pub body_idle_timeout: Duration,
    #[serde(with = "humantime_serde")]
    pub shutdown_timeout: Duration,
    pub cors_origins: String,
    pub graphql_max_document_bytes: u64,
    pub graphql_max_depth: usize,
    pub graphql_max_complexity: usize,
    pub graphql_max_aliases: usize,
    pub graphql_max_root_fields: usize,
    pub graphql_max_directives: usize,
    pub graphql_max_introspection_lists: usize,
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

/// What was given on the command line; it wins over everything else.
#[derive(Clone, Debug, Default, Serialize, clap::Args)]
pub struct Overrides {
    /// Address and port to listen on.
    #[arg(long, env = "PARTWAY_LISTEN", value_name = "ADDR")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub listen: Option<String>,
    #[command(flatten)]
    #[serde(flatten)]
    #[expect(missing_docs, reason = "clap would show it as the help of the group")]
    pub stores: StoreOverrides,
}

/// Where the data is; taken by every command that opens it.
#[derive(Clone, Debug, Default, Serialize, clap::Args)]
pub struct StoreOverrides {
    /// Folder for the database and the files.
    #[arg(long, env = "PARTWAY_DATA", value_name = "DIR")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data: Option<String>,
    /// SQLite file or PostgreSQL URL, as in postgres://USER@HOST/DATABASE [default: SQLite in the data folder].
    #[arg(long, env = "PARTWAY_DATABASE", value_name = "FILE|URL", hide_env_values = true)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub database: Option<String>,
    /// Folder or object store for the bytes, as in s3://BUCKET/PREFIX [default: files in the data folder].
    #[arg(long, env = "PARTWAY_STORAGE", value_name = "DIR|URL", hide_env_values = true)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub storage: Option<String>,
}

impl Config {
    /// The settings in force for this process.
    pub fn load(flags: &impl Serialize) -> anyhow::Result<Self> {
        // A variable that is no text cannot be ours.
        let variables =
            std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
        Self::merge(Toml::file(FILE), variables, flags)
    }

    fn merge(
        file: impl figment::Provider,
        variables: impl Iterator<Item = (String, String)>,
        flags: &impl Serialize,
    ) -> anyhow::Result<Self> {
        let defaults = Figment::from(Toml::string(DEFAULTS));
        let known = defaults.extract::<Dict>().context("config.default.toml")?;
        let config: Self = defaults
            .merge(file)
            .merge(Serialized::defaults(from_environment(&known, variables)?))
            .merge(Serialized::defaults(flags))
            .extract()
            .map_err(|errors| anyhow::anyhow!(errors.into_iter().map(describe).collect::<Vec<_>>().join("; ")))?;
        config.validate()?;
        Ok(config)
    }

    fn validate(&self) -> anyhow::Result<()> {
        if self.chunk_size.0 == 0 {
            bail!("chunk_size must be at least one byte");
        }
        if self.max_parts == 0 {
            bail!("max_parts must be at least 1");
        }
        if self.data.as_os_str().is_empty() {
            bail!("data must name a folder");
        }
        if self.max_file_size.0 > i64::MAX as u64 || self.chunk_size.0 > i64::MAX as u64 {
            bail!("max_file_size and chunk_size must be less than 8 EiB");
        }
        if self.session_ttl.is_zero() || self.sweep_interval.is_zero() || self.body_idle_timeout.is_zero() {
            bail!("session_ttl, sweep_interval and body_idle_timeout must be longer than zero");
        }
        if self.session_ttl > LONGEST_TTL {
            bail!("session_ttl must be at most 100 years");
        }
        if self.database_connections < 2 {
            bail!("database_connections must be at least 2: one that reads and one that writes");
        }
        self.database()?;
        if let StorageTarget::Objects(_) = self.storage()? {
            self.validate_for_objects()?;
        }
        PartPlan::choose(self.max_file_size.0, self.chunk_size.0, self.max_parts)?;
        Ok(())
    }

    /// The origins whose pages may use this server.
    pub fn cors_origins(&self) -> impl Iterator<Item = &str> {
        self.cors_origins.split(',').map(str::trim).filter(|origin| !origin.is_empty())
    }

    /// The file of trusted documents, if there is one.
    pub fn graphql_trusted_documents(&self) -> Option<&Path> {
        Some(Path::new(&self.graphql_trusted_documents)).filter(|path| !path.as_os_str().is_empty())
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
    /// Whether the whole file's SHA-256 is computed for every file.
    pub hashes_every_file: bool,
    /// How long an untouched session stays open.
    pub session_ttl: chrono::TimeDelta,
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
    pub timeout: Duration,
    pub introspection: bool,
    pub suggestions: bool,
}

/// A setting that cannot be used: its name, and why.
fn describe(error: figment::Error) -> String {
    let name = error.path.join(".");
    if name.is_empty() { error.kind.to_string() } else { format!("{name}: {}", error.kind) }
}

/// Settings from `PARTWAY_…` variables. A misspelt one is refused; those of the client, and those that Kubernetes sets
/// for a service called `partway`, are not ours to judge.
fn from_environment(known: &Dict, variables: impl Iterator<Item = (String, String)>) -> anyhow::Result<Dict> {
    let mut settings = Dict::new();
    for (name, value) in variables {
        let Some(key) = name.strip_prefix(ENV_PREFIX).map(str::to_lowercase) else { continue };
        if known.contains_key(&key) {
            let typed = match known[&key] {
                Value::Num(..) => value.parse::<u64>().ok().map(Value::from),
                Value::Bool(..) => value.parse::<bool>().ok().map(Value::from),
                _ => None,
            };
            settings.insert(key, typed.unwrap_or_else(|| Value::from(value)));
        } else if !CLIENT_VARIABLES.contains(&key.as_str()) && !key.starts_with("service_") && !key.starts_with("port")
        {
            bail!("{name}: there is no such setting");
        }
    }
    Ok(settings)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(file: &str, variables: &[(&str, &str)], flags: &Overrides) -> anyhow::Result<Config> {
        let variables = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        Config::merge(Toml::string(file), variables, flags)
    }

    #[test]
    fn the_defaults_are_the_documented_ones() {
        let config = load("", &[], &Overrides::default()).unwrap();
        assert_eq!(config.listen.to_string(), "127.0.0.1:8080");
        assert_eq!(config.chunk_size, ByteSize::mib(5));
        assert_eq!((config.max_parts, config.session_ttl), (10_000, Duration::from_hours(7 * 24)));
        assert_eq!(config.database().unwrap(), DatabaseTarget::Sqlite(PathBuf::from("data/partway.db")));
        assert_eq!(config.storage().unwrap(), StorageTarget::Folder(PathBuf::from("data/files")));
    }

    #[test]
    fn the_later_source_wins() {
        let flags = Overrides {
            stores: StoreOverrides { data: Some("from-flag".to_owned()), ..Default::default() },
            ..Default::default()
        };
        let variables = [("PARTWAY_DATA", "from-env"), ("PARTWAY_MAX_PARTS", "12"), ("PARTWAY_CHUNK_SIZE", "1048576")];
        let config = load("data = \"from-file\"\nmax_parts = 9\nsession_ttl = \"1h\"", &variables, &flags).unwrap();
        assert_eq!(config.data, PathBuf::from("from-flag"));
        assert_eq!((config.max_parts, config.chunk_size), (12, ByteSize::mib(1)));
        assert_eq!(config.session_ttl, Duration::from_hours(1));
    }

    #[test]
    fn what_is_unknown_or_wrong_is_refused_by_name() {
        let refused = |file: &str, variables: &[(&str, &str)]| {
            format!("{:#}", load(file, variables, &Overrides::default()).unwrap_err())
        };
        assert!(refused("chunk_sise = 1", &[]).contains("chunk_sise"));
        assert!(refused("", &[("PARTWAY_CHUNKSIZE", "1")]).contains("PARTWAY_CHUNKSIZE"));
        assert!(refused("", &[("PARTWAY_CHUNK_SIZE", "0")]).contains("chunk_size"));
        assert!(refused("", &[("PARTWAY_CHUNK_SIZE", "many")]).contains("chunk_size"));
        assert!(refused("session_ttl = \"soon\"", &[]).contains("session_ttl"));
        assert!(refused("", &[("PARTWAY_MAX_PARTS", "many")]).contains("max_parts"));
        assert!(refused("", &[("PARTWAY_SESSION_TTL", "10000000000d")]).contains("session_ttl"));
        for database in ["mysql://x/y", "sqlite::memory:", "sqlite://a.db?mode=ro"] {
            assert!(refused("", &[("PARTWAY_DATABASE", database)]).contains("database"));
        }
        assert!(refused("", &[("PARTWAY_DATA", "")]).contains("data"));
    }

    #[test]
    fn variables_that_are_not_settings_of_the_server_are_left_alone() {
        let variables = [
            ("PARTWAY_TOKEN", "x"),
            ("PARTWAY_SERVER", "x"),
            ("PARTWAY_SERVICE_HOST", "10.0.0.1"),
            ("PARTWAY_PORT_8080_TCP", "tcp://10.0.0.1:8080"),
            ("PATH", "/bin"),
        ];
        assert!(load("", &variables, &Overrides::default()).is_ok());
    }
}

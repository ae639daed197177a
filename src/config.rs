//! Settings: where they come from and what they may be.
//!
//! Owns the order embedded defaults < `partway.toml` < environment < flags, and refuses what it does not know. The
//! defaults are the commented file `config.default.toml` itself, so the two cannot differ.

mod settings;
mod targets;
mod validate;

use anyhow::{Context, bail};
use figment::{
    Figment,
    providers::{Format, Serialized, Toml},
    value::{Dict, Value},
};
use serde::Serialize;

pub use self::{
    settings::{Config, FileSha256, GraphqlSettings, Limits, LogFormat, SyncParts},
    targets::{DatabaseTarget, StorageTarget},
};

/// The embedded defaults.
pub const DEFAULTS: &str = include_str!("../config.default.toml");
/// The file in the working directory that may override them.
pub const FILE: &str = "partway.toml";
const ENV_PREFIX: &str = "PARTWAY_";
/// Variables with our prefix that are the client's, not the server's.
const CLIENT_VARIABLES: [&str; 8] = ["server", "token", "parallel", "new", "watch", "owner", "name", "expires_in"];

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

    /// The defaults and these settings, whatever the environment and the working directory hold: for tests.
    pub fn from_defaults(settings: &impl Serialize) -> anyhow::Result<Self> {
        Self::merge(Toml::string(""), std::iter::empty(), settings)
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
    use std::{path::PathBuf, time::Duration};

    use bytesize::ByteSize;

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

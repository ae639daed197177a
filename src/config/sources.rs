//! The sources of settings.
//!
//! Owns their order (embedded defaults < `partway.toml` < environment < flags), and the refusal of unknown settings.
//! The embedded defaults are the commented file `config.default.toml` itself, so documentation and defaults cannot
//! differ.

use std::{collections::HashSet, io::ErrorKind};

use anyhow::{Context, bail};
use figment::{
    Figment, Provider,
    providers::{Format, Serialized, Toml},
    value::{Dict, Num, Value},
};
use serde::{Serialize, de::DeserializeOwned};

use super::Config;

/// The embedded defaults.
const DEFAULTS: &str = include_str!("../../config.default.toml");
/// The file in the working directory that overrides them.
const FILE: &str = "partway.toml";
const ENV_PREFIX: &str = "PARTWAY_";

/// The values of all sources. A later source overrides an earlier one.
#[derive(Debug)]
pub struct Sources {
    layers: Vec<(Source, Dict)>,
}

/// A source of settings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Source {
    Default,
    File,
    Environment,
    Flag,
}

/// One setting, for display.
#[derive(Debug, PartialEq, Eq)]
pub struct Setting {
    /// Its name in `partway.toml`.
    pub name: String,
    /// Its value in the syntax of `partway.toml`. The password of a URL is hidden.
    pub value: String,
    /// Its source: `default`, `partway.toml`, the name of the variable, or the flag.
    pub source: String,
}

impl Sources {
    /// Reads all sources of this process. `of_commands` are the environment variables that commands read. They need not
    /// be settings.
    ///
    /// # Errors
    /// The file is not TOML, or a setting in a source does not exist.
    pub fn read(flags: &impl Serialize, of_commands: &HashSet<String>) -> anyhow::Result<Self> {
        // A variable that is not Unicode cannot be a setting.
        let variables =
            std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
        let variables = variables.filter(|(name, _)| !of_commands.contains(name) || is_setting(name));
        Self::from(Toml::string(&file()?), variables, flags)
    }

    pub(super) fn from(
        file: impl Provider,
        variables: impl Iterator<Item = (String, String)>,
        flags: &impl Serialize,
    ) -> anyhow::Result<Self> {
        let defaults = defaults();
        let values = |provider: Figment, source: &str| {
            let values: Dict = provider.extract().with_context(|| source.to_owned())?;
            match values.keys().find(|name| !defaults.contains_key(*name)) {
                Some(unknown) => bail!("{source}: there is no setting {unknown}"),
                None => Ok(values),
            }
        };
        let file = values(Figment::from(file), FILE)?;
        let environment = from_environment(&defaults, variables)?;
        let flags = values(Figment::from(Serialized::defaults(flags)), "flags")?;
        let layers = [Source::Default, Source::File, Source::Environment, Source::Flag];
        Ok(Self { layers: layers.into_iter().zip([defaults, file, environment, flags]).collect() })
    }

    /// The settings in force.
    ///
    /// # Errors
    /// A setting has an invalid value. The message names it.
    pub fn config(&self) -> anyhow::Result<Config> {
        let config = Config {
            server: self.extract("")?,
            stores: self.extract("")?,
            limits: self.extract("")?,
            identity: self.extract("")?,
            connections: self.extract("")?,
            graphql: self.extract("graphql_")?,
            documents: self.extract("graphql_")?,
            webhooks: self.extract("webhook_")?,
            traces: self.extract("otlp_")?,
        };
        config.validate()?;
        Ok(config)
    }

    /// The settings of one module, whose names begin with `prefix`.
    fn extract<T: DeserializeOwned>(&self, prefix: &str) -> anyhow::Result<T> {
        let values = self.layers.iter().flat_map(|(_, values)| values);
        let values: Dict =
            values.filter_map(|(name, value)| Some((name.strip_prefix(prefix)?.to_owned(), value.clone()))).collect();
        let describe = |error: figment::Error| {
            let name = format!("{prefix}{}", error.path.join("."));
            match self.source(&name) {
                Some((source, _)) => format!("{name}: {} (from {})", error.kind, source.describe(&name)),
                None => error.kind.to_string(),
            }
        };
        Figment::from(Serialized::defaults(values))
            .extract()
            .map_err(|errors| anyhow::anyhow!(errors.into_iter().map(describe).collect::<Vec<_>>().join("; ")))
    }

    /// The source of a setting, and its value.
    fn source(&self, name: &str) -> Option<(Source, &Value)> {
        let (source, value) =
            self.layers.iter().rev().find_map(|(source, values)| Some((*source, values.get(name)?)))?;
        let environment = self.layers.iter().find(|(source, _)| *source == Source::Environment)?.1.get(name);
        // clap fills a flag from its environment variable, so that is the real source.
        let is_from_clap = source == Source::Flag && environment == Some(value);
        Some((if is_from_clap { Source::Environment } else { source }, value))
    }

    /// All settings, in the order of `config.default.toml`.
    pub fn settings(&self) -> impl Iterator<Item = Setting> {
        names().map(|name| {
            let (source, value) = self.source(name).expect("every name is one of the defaults");
            Setting { name: name.to_owned(), value: shown(value), source: source.describe(name) }
        })
    }
}

impl Source {
    fn describe(self, name: &str) -> String {
        match self {
            Self::Default => "default".to_owned(),
            Self::File => FILE.to_owned(),
            Self::Environment => format!("{ENV_PREFIX}{}", name.to_uppercase()),
            Self::Flag => format!("--{}", name.replace('_', "-")),
        }
    }
}

/// The text of `partway.toml`. Empty if the file does not exist. An error if it exists and the server cannot read it,
/// also if it is a dangling link.
fn file() -> anyhow::Result<String> {
    match std::fs::read_to_string(FILE) {
        Err(_) if std::fs::symlink_metadata(FILE).is_err_and(|error| error.kind() == ErrorKind::NotFound) => {
            Ok(String::new())
        }
        read => read.context(FILE),
    }
}

fn defaults() -> Dict {
    Figment::from(Toml::string(DEFAULTS)).extract().expect("config.default.toml is valid, as a test shows")
}

/// The names of all settings, in the order of `config.default.toml`.
fn names() -> impl Iterator<Item = &'static str> {
    DEFAULTS.lines().filter(|line| !line.starts_with('#')).filter_map(|line| Some(line.split_once(" = ")?.0))
}

fn is_setting(variable: &str) -> bool {
    variable.strip_prefix(ENV_PREFIX).is_some_and(|name| names().any(|setting| setting == name.to_lowercase()))
}

/// A value as TOML, without the password of a URL. Strings, numbers and booleans have the same syntax in JSON and TOML.
fn shown(value: &Value) -> String {
    let hidden = value.as_str().map(|text| Value::from(without_password(text)));
    serde_json::json!(hidden.as_ref().unwrap_or(value)).to_string()
}

/// Hides the password of a URL. It may follow the user's name, or be a parameter.
fn without_password(text: &str) -> String {
    let Some((scheme, rest)) = text.split_once("://") else { return text.to_owned() };
    // The password of a PostgreSQL URL may contain `/`, `?` or `#`, although they should be escaped. So search for them
    // after the last `@`. Not in other URLs: the path in a bucket may contain an `@`.
    let host = if scheme.starts_with("postgres") { rest.rfind('@').unwrap_or(0) } else { 0 };
    let end = rest[host..].find(['/', '?', '#']).map_or(rest.len(), |at| host + at);
    let (authority, path) = rest.split_at(end);
    let authority = match authority.rsplit_once('@') {
        Some((user, host)) => match user.split_once(':') {
            Some((name, _)) => format!("{name}:***@{host}"),
            None => authority.to_owned(),
        },
        None => authority.to_owned(),
    };
    let (path, parameters) = path.split_once('?').map_or((path, None), |(path, parameters)| (path, Some(parameters)));
    let parameters = parameters.map(|parameters| {
        let hidden = parameters.split('&').map(|parameter| match parameter.split_once('=') {
            Some((name, _)) if name.eq_ignore_ascii_case("password") => format!("{name}=***"),
            _ => parameter.to_owned(),
        });
        format!("?{}", hidden.collect::<Vec<_>>().join("&"))
    });
    format!("{scheme}://{authority}{path}{}", parameters.unwrap_or_default())
}

/// Settings from `PARTWAY_…` variables. A variable that is not a setting is an error. Ignores the variables that
/// Kubernetes sets for a service with the name `partway`.
fn from_environment(known: &Dict, variables: impl Iterator<Item = (String, String)>) -> anyhow::Result<Dict> {
    let mut settings = Dict::new();
    for (name, value) in variables {
        let Some(key) = name.strip_prefix(ENV_PREFIX).map(str::to_lowercase) else { continue };
        if let Some(default) = known.get(&key) {
            let typed = match default {
                Value::Num(_, Num::F64(_)) => value.parse::<f64>().ok().map(Value::from),
                Value::Num(..) => value.parse::<u64>().ok().map(Value::from),
                Value::Bool(..) => value.parse::<bool>().ok().map(Value::from),
                _ => None,
            };
            settings.insert(key, typed.unwrap_or_else(|| Value::from(value)));
        } else if !key.starts_with("service_") && !key.starts_with("port") {
            bail!("{name}: there is no such setting");
        }
    }
    Ok(settings)
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use bytesize::ByteSize;
    use chrono::TimeDelta;
    use serde_json::{Value as Json, json};

    use super::*;
    use crate::config::{DatabaseTarget, StorageTarget};

    fn read(file: &str, variables: &[(&str, &str)], flags: &Json) -> anyhow::Result<Sources> {
        let variables = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        Sources::from(Toml::string(file), variables, flags)
    }

    fn load(file: &str, variables: &[(&str, &str)], flags: &Json) -> anyhow::Result<Config> {
        read(file, variables, flags)?.config()
    }

    #[test]
    fn the_defaults_are_those_of_the_documentation() {
        let config = load("", &[], &json!({})).unwrap();
        assert_eq!(config.server.listen.to_string(), "127.0.0.1:8080");
        assert_eq!(config.limits.chunk_size, ByteSize::mib(8));
        assert_eq!((config.limits.max_parts, config.limits.session_ttl), (10_000, TimeDelta::days(7)));
        assert_eq!(config.stores.database().unwrap(), DatabaseTarget::Sqlite(PathBuf::from("data/partway.db")));
        assert_eq!(config.stores.storage().unwrap(), StorageTarget::Folder(PathBuf::from("data/files")));
    }

    #[test]
    fn a_later_source_overrides_an_earlier_one() {
        let variables = [("PARTWAY_DATA", "from-env"), ("PARTWAY_MAX_PARTS", "12"), ("PARTWAY_CHUNK_SIZE", "1048576")];
        let file = "data = \"from-file\"\nmax_parts = 9\nsession_ttl = \"1h\"";
        let config = load(file, &variables, &json!({ "data": "from-flag" })).unwrap();
        assert_eq!(config.stores.data, PathBuf::from("from-flag"));
        assert_eq!((config.limits.max_parts, config.limits.chunk_size), (12, ByteSize::mib(1)));
        assert_eq!(config.limits.session_ttl, TimeDelta::hours(1));
    }

    #[test]
    fn each_setting_names_its_source() {
        let variables = [("PARTWAY_MAX_PARTS", "12"), ("PARTWAY_STORAGE", "files")];
        let flags = json!({ "data": "from-flag", "storage": "files" });
        let sources = read("session_ttl = \"1h\"", &variables, &flags).unwrap();
        let all: Vec<Setting> = sources.settings().collect();
        assert_eq!(all.len(), defaults().len());
        let of = |name: &str| all.iter().find(|setting| setting.name == name).unwrap();
        for (name, value, source) in [
            ("listen", r#""127.0.0.1:8080""#, "default"),
            ("session_ttl", r#""1h""#, "partway.toml"),
            ("max_parts", "12", "PARTWAY_MAX_PARTS"),
            ("data", r#""from-flag""#, "--data"),
            ("storage", r#""files""#, "PARTWAY_STORAGE"),
            ("graphql_introspection", "true", "default"),
        ] {
            assert_eq!((&*of(name).value, &*of(name).source), (value, source), "{name}");
        }
    }

    #[test]
    fn the_displayed_settings_are_a_valid_file() {
        let file: String = read("", &[], &json!({ "data": "a\"b\\c\td" }))
            .unwrap()
            .settings()
            .map(|setting| format!("{} = {} # {}\n", setting.name, setting.value, setting.source))
            .collect();
        assert_eq!(load(&file, &[], &json!({})).unwrap().stores.data, PathBuf::from("a\"b\\c\td"));
    }

    #[test]
    fn passwords_are_hidden() {
        for (url, shown) in [
            ("postgres://me:se:c@ret@host:5432/db?sslmode=require", "postgres://me:***@host:5432/db?sslmode=require"),
            ("postgres://host/db?user=me&password=secret", "postgres://host/db?user=me&password=***"),
            ("postgres://me:se/c?r#e@t@host/db", "postgres://me:***@host/db"),
            ("postgres://me@host/db", "postgres://me@host/db"),
            ("s3://bucket/a:b@c", "s3://bucket/a:b@c"),
            ("data", "data"),
        ] {
            assert_eq!(without_password(url), shown);
        }
    }

    #[test]
    fn an_error_names_the_unknown_or_invalid_setting() {
        let refused =
            |file: &str, variables: &[(&str, &str)]| format!("{:#}", load(file, variables, &json!({})).unwrap_err());
        assert!(refused("chunk_sise = 1", &[]).contains("chunk_sise"));
        assert!(refused("", &[("PARTWAY_CHUNKSIZE", "1")]).contains("PARTWAY_CHUNKSIZE"));
        assert!(refused("", &[("PARTWAY_CHUNK_SIZE", "0")]).contains("chunk_size"));
        assert!(refused("", &[("PARTWAY_CHUNK_SIZE", "many")]).contains("chunk_size"));
        assert!(refused("session_ttl = \"soon\"", &[]).contains("session_ttl"));
        assert!(refused("session_ttl = ", &[]).contains("partway.toml"));
        assert!(refused("", &[("PARTWAY_MAX_PARTS", "many")]).contains("max_parts"));
        assert!(refused("", &[("PARTWAY_SESSION_TTL", "10000000000d")]).contains("session_ttl"));
        for database in ["mysql://x/y", "sqlite::memory:", "sqlite://a.db?mode=ro"] {
            assert!(refused("", &[("PARTWAY_DATABASE", database)]).contains("database"));
        }
        assert!(refused("", &[("PARTWAY_DATA", "")]).contains("data"));
    }

    #[test]
    fn every_setting_is_read_and_an_error_names_its_source() {
        for name in names() {
            let refused = load(&format!("{name} = []"), &[], &json!({})).unwrap_err().to_string();
            assert!(refused.starts_with(&format!("{name}: ")) && refused.ends_with("(from partway.toml)"), "{refused}");
        }
        let refused = load("", &[("PARTWAY_GRAPHQL_TIMEOUT", "soon")], &json!({})).unwrap_err().to_string();
        assert!(refused.starts_with("graphql_timeout: "), "{refused}");
        assert!(refused.ends_with("(from PARTWAY_GRAPHQL_TIMEOUT)"), "{refused}");
    }

    #[test]
    fn variables_of_kubernetes_and_of_other_programs_are_ignored() {
        let variables =
            [("PARTWAY_SERVICE_HOST", "10.0.0.1"), ("PARTWAY_PORT_8080_TCP", "tcp://10.0.0.1:8080"), ("PATH", "/bin")];
        assert!(load("", &variables, &json!({})).is_ok());
    }
}

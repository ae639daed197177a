//! The settings of traces.
//!
//! Owns their type, and the address that spans are sent to. `config.default.toml` documents each setting and has its default.

use anyhow::{Context, ensure};
use serde::Deserialize;
use url::Url;

/// The path that the standard appends to the address of a collector.
const TRACES_PATH: &str = "/v1/traces";

/// The settings of traces. The names of the settings begin with `otlp_`.
#[derive(Clone, Debug, Deserialize)]
#[expect(missing_docs, reason = "config.default.toml is their documentation")]
pub struct TraceSettings {
    pub endpoint: String,
    pub sample_ratio: f64,
}

impl TraceSettings {
    /// The URL that spans are sent to. `None` if the server exports none.
    ///
    /// # Errors
    /// The address is not `http` or `https`, or has a user, a password, a query or a fragment.
    pub fn url(&self) -> anyhow::Result<Option<String>> {
        if self.endpoint.is_empty() {
            return Ok(None);
        }
        let url = Url::parse(&self.endpoint).context("otlp_endpoint")?;
        let is_plain =
            url.query().is_none() && url.fragment().is_none() && url.username().is_empty() && url.password().is_none();
        ensure!(
            ["http", "https"].contains(&url.scheme()) && is_plain,
            "otlp_endpoint must be the address of a collector, such as http://localhost:4318"
        );
        Ok(Some(format!("{}{TRACES_PATH}", url.as_str().trim_end_matches('/'))))
    }

    /// Checks the settings.
    ///
    /// # Errors
    /// A setting is invalid. The message names it.
    pub fn check(&self) -> anyhow::Result<()> {
        ensure!((0.0..=1.0).contains(&self.sample_ratio), "otlp_sample_ratio must be from 0 to 1");
        self.url().map(drop)
    }
}

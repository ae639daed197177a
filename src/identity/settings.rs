//! The settings of the identity provider.

use anyhow::{Context, bail, ensure};
use serde::Deserialize;
use url::Url;

/// Which tokens of an identity provider the server accepts.
#[derive(Clone, Debug, Default, Deserialize)]
#[expect(missing_docs, reason = "config.default.toml is their documentation")]
pub struct JwtSettings {
    pub jwt_issuer: String,
    pub jwt_audience: String,
    pub jwt_jwks_url: String,
    pub jwt_key_file: String,
    pub jwt_owner_claim: String,
}

impl JwtSettings {
    /// Whether the server accepts tokens of a provider.
    pub fn is_enabled(&self) -> bool {
        !self.jwt_jwks_url.is_empty() || !self.jwt_key_file.is_empty()
    }

    /// Checks the settings. The error names the setting.
    ///
    /// # Errors
    /// Settings are missing or contradict each other.
    pub fn check(&self) -> anyhow::Result<()> {
        let Self { jwt_issuer, jwt_audience, jwt_jwks_url, jwt_key_file, jwt_owner_claim } = self;
        if !self.is_enabled() {
            ensure!(
                jwt_issuer.is_empty() && jwt_audience.is_empty(),
                "jwt_issuer and jwt_audience have no effect without jwt_jwks_url or jwt_key_file"
            );
            return Ok(());
        }
        ensure!(jwt_jwks_url.is_empty() || jwt_key_file.is_empty(), "set jwt_jwks_url or jwt_key_file, not both");
        ensure!(!jwt_issuer.is_empty(), "jwt_issuer must be set: the server accepts only tokens of this issuer");
        ensure!(!jwt_audience.is_empty(), "jwt_audience must be set: the server accepts only tokens for this audience");
        ensure!(!jwt_owner_claim.is_empty(), "jwt_owner_claim must name a claim, such as sub");
        self.url().map(drop)
    }

    /// The address of the key set.
    pub(super) fn url(&self) -> anyhow::Result<Option<Url>> {
        if self.jwt_jwks_url.is_empty() {
            return Ok(None);
        }
        let url = Url::parse(&self.jwt_jwks_url).context("jwt_jwks_url")?;
        let is_loopback = match url.host() {
            Some(url::Host::Domain(name)) => name == "localhost",
            Some(url::Host::Ipv4(ip)) => ip.is_loopback(),
            Some(url::Host::Ipv6(ip)) => ip.is_loopback(),
            None => false,
        };
        match url.scheme() {
            "https" => Ok(Some(url)),
            "http" if is_loopback => Ok(Some(url)),
            _ => bail!("jwt_jwks_url must begin with https://: keys that are read over http could be anyone's"),
        }
    }
}

//! The settings of webhooks.
//!
//! Owns their type. `config.default.toml` documents each setting and has its default.

use std::time::Duration;

use serde::Deserialize;

/// The settings of webhooks. The names of the settings begin with `webhook_`.
#[derive(Clone, Copy, Debug, Deserialize)]
#[expect(missing_docs, reason = "config.default.toml is their documentation")]
pub struct WebhookSettings {
    pub allow_private: bool,
    #[serde(with = "humantime_serde")]
    pub timeout: Duration,
}

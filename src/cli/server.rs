//! The flags with which a command reaches a server.
//!
//! Owns where the address and the token come from. Does not connect: that is `client`.

use std::time::Duration;

use clap::Args;
use humantime_serde::re::humantime::parse_duration;

use crate::client::{Client, RetryPolicy};

/// The server's address and the token.
#[derive(Debug, Args)]
pub(super) struct Server {
    /// The server's address
    #[arg(long = "server", env = "PARTWAY_SERVER", value_name = "URL", default_value = "http://127.0.0.1:8080")]
    url: String,
    /// The token that the server gave you
    #[arg(long, env = "PARTWAY_TOKEN", value_name = "TOKEN", hide_env_values = true)]
    token: Option<String>,
    /// How long to retry without progress, as in 90s or 2h
    ///
    /// Bytes that are sent or received count as progress. The client retries broken connections and temporary errors (408,
    /// 425, 429, 499 and most 5xx), and waits as long as Retry-After asks. Some errors end the command at once: an invalid
    /// certificate, a redirect, a response that does not come from Partway, and, before the server's first response, a
    /// host that is unknown or refuses connections.
    #[arg(long, env = "PARTWAY_RETRY_FOR", value_name = "DURATION", default_value = "5m", value_parser = parse_duration)]
    retry_for: Duration,
}

/// No token was given.
#[derive(Debug, thiserror::Error)]
#[error("no token: set PARTWAY_TOKEN or add --token; the server printed a token at its first start")]
pub(super) struct NoToken;

impl Server {
    pub(super) fn client(&self) -> anyhow::Result<Client> {
        let token = self.token.as_deref().filter(|token| !token.is_empty());
        Ok(Client::new(&self.url, token.ok_or(NoToken)?)?)
    }

    pub(super) fn retry_for(&self) -> Duration {
        self.retry_for
    }

    /// The retry policy of a command that sends one request after the other.
    pub(super) fn retry(&self) -> RetryPolicy {
        RetryPolicy::new(self.retry_for)
    }
}

//! The settings of connections.
//!
//! Owns their types. `config.default.toml` says what each means, and has its default.

use std::time::Duration;

use bytesize::ByteSize;
use serde::Deserialize;

/// How many connections there may be, how slow each may be, and how they end when the server stops.
#[derive(Clone, Copy, Debug, Deserialize)]
#[expect(missing_docs, reason = "config.default.toml is their documentation")]
pub struct ConnectionSettings {
    pub max_connections: u32,
    pub max_connections_per_address: u32,
    #[serde(with = "humantime_serde")]
    pub keep_alive_timeout: Duration,
    #[serde(with = "humantime_serde")]
    pub body_idle_timeout: Duration,
    pub min_transfer_rate: ByteSize,
    #[serde(with = "humantime_serde")]
    pub drain_delay: Duration,
    #[serde(with = "humantime_serde")]
    pub shutdown_timeout: Duration,
}

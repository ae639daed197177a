//! The settings of connections.
//!
//! Owns their types. Does not own their defaults and meanings: those are in `config.default.toml`.

use std::time::Duration;

use bytesize::ByteSize;
use serde::Deserialize;

/// The limits on connections, the minimum transfer rate, and the times of the shutdown.
#[derive(Clone, Copy, Debug, Deserialize)]
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

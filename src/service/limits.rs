//! The settings of the use cases.
//!
//! Owns their types, and the use case that shows them. `config.default.toml` documents each setting and has its default.

use std::time::Duration;

use bytesize::ByteSize;
use chrono::TimeDelta;
use serde::{Deserialize, Deserializer};

use super::Service;

/// The limits that the use cases apply.
#[derive(Clone, Copy, Debug, Deserialize)]
#[expect(missing_docs, reason = "config.default.toml is their documentation")]
pub struct Limits {
    pub chunk_size: ByteSize,
    pub max_parts: u32,
    pub max_file_size: ByteSize,
    pub max_open_sessions: u64,
    pub max_streams_per_owner: u64,
    #[serde(deserialize_with = "time_delta")]
    pub session_ttl: TimeDelta,
    pub file_sha256: FileSha256,
}

impl Service {
    /// The limits of this server, which are the same for every caller.
    pub fn limits(&self) -> &Limits {
        &self.limits
    }
}

impl Limits {
    /// Whether the server computes the SHA-256 of every file.
    pub(super) fn hashes_every_file(&self) -> bool {
        self.file_sha256 == FileSha256::Always
    }
}

/// When the server computes the SHA-256 of the whole file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FileSha256 {
    /// For every file.
    Always,
    /// Only if the client declares one, at creation or at finalize.
    OnRequest,
}

fn time_delta<'de, D: Deserializer<'de>>(value: D) -> Result<TimeDelta, D::Error> {
    let duration: Duration = humantime_serde::deserialize(value)?;
    Ok(TimeDelta::from_std(duration).unwrap_or(TimeDelta::MAX))
}

//! The settings of the use cases.
//!
//! Owns their types, and the use case that shows them. `config.default.toml` documents each setting and has its default.

use std::time::Duration;

use bytesize::ByteSize;
use chrono::TimeDelta;
use serde::{Deserialize, Deserializer, de::IntoDeserializer};

use super::Service;
use crate::domain::AccountLimits;

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
    #[serde(with = "humantime_serde")]
    pub sweep_interval: Duration,
    pub file_sha256: FileSha256,
    #[serde(deserialize_with = "size_or_none")]
    pub owner_max_bytes: Option<ByteSize>,
    #[serde(deserialize_with = "time_delta_or_none")]
    pub file_retention: Option<TimeDelta>,
    #[serde(deserialize_with = "time_delta")]
    pub part_retention: TimeDelta,
    #[serde(deserialize_with = "time_delta")]
    pub event_retention: TimeDelta,
}

impl Service {
    /// The limits of this server, which are the same for every caller.
    pub fn limits(&self) -> &Limits {
        &self.limits
    }
}

impl Limits {
    /// The limits of owners without limits of their own.
    pub(super) fn of_accounts(&self) -> AccountLimits {
        AccountLimits { max_bytes: self.owner_max_bytes.map(|size| size.0), max_open_sessions: self.max_open_sessions }
    }

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
    /// Only if a client declares one, at creation or at finalize, or asks for it.
    OnRequest,
}

fn time_delta<'de, D: Deserializer<'de>>(value: D) -> Result<TimeDelta, D::Error> {
    let duration: Duration = humantime_serde::deserialize(value)?;
    Ok(TimeDelta::from_std(duration).unwrap_or(TimeDelta::MAX))
}

/// A duration, or "" for none.
fn time_delta_or_none<'de, D: Deserializer<'de>>(value: D) -> Result<Option<TimeDelta>, D::Error> {
    let text = String::deserialize(value)?;
    if text.is_empty() {
        return Ok(None);
    }
    time_delta(text.into_deserializer()).map(Some)
}

/// A size, or "" for none.
fn size_or_none<'de, D: Deserializer<'de>>(value: D) -> Result<Option<ByteSize>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Written {
        Bytes(u64),
        Text(String),
    }
    match Written::deserialize(value)? {
        Written::Bytes(bytes) => Ok(Some(ByteSize::b(bytes))),
        Written::Text(text) if text.is_empty() => Ok(None),
        Written::Text(text) => text.parse().map(Some).map_err(serde::de::Error::custom),
    }
}

//! Which values a setting may have.
//!
//! Owns the limits of single settings and how they go together. What a part of the server alone can tell (an origin that
//! is none, a folder that cannot be written) is refused by that part, at the start too.

use std::time::Duration;

use anyhow::bail;

use super::{Config, StorageTarget};
use crate::domain::PartPlan;

/// Far enough that no time of day overflows.
const LONGEST: Duration = Duration::from_hours(100 * 365 * 24);

impl Config {
    /// Refuses what cannot work, by the setting's name.
    pub(super) fn validate(&self) -> anyhow::Result<()> {
        if self.chunk_size.0 == 0 {
            bail!("chunk_size must be at least one byte");
        }
        if self.max_parts == 0 {
            bail!("max_parts must be at least 1");
        }
        if self.data.as_os_str().is_empty() {
            bail!("data must name a folder");
        }
        if self.max_file_size.0 > i64::MAX as u64 || self.chunk_size.0 > i64::MAX as u64 {
            bail!("max_file_size and chunk_size must be less than 8 EiB");
        }
        if self.session_ttl.is_zero() || self.sweep_interval.is_zero() || self.body_idle_timeout.is_zero() {
            bail!("session_ttl, sweep_interval and body_idle_timeout must be longer than zero");
        }
        if self.max_connections == 0 || self.keep_alive_timeout.is_zero() {
            bail!("max_connections must be at least 1, and keep_alive_timeout longer than zero");
        }
        if self.max_streams_per_owner == 0 {
            bail!("max_streams_per_owner must be at least 1");
        }
        for (name, duration) in [
            ("session_ttl", self.session_ttl),
            ("sweep_interval", self.sweep_interval),
            ("body_idle_timeout", self.body_idle_timeout),
            ("keep_alive_timeout", self.keep_alive_timeout),
            ("shutdown_timeout", self.shutdown_timeout),
            ("drain_delay", self.drain_delay),
            ("graphql_timeout", self.graphql_timeout),
        ] {
            if duration > LONGEST {
                bail!("{name} must be at most 100 years");
            }
        }
        if self.graphql_max_response_bytes.0 < 64 * 1024 {
            bail!("graphql_max_response_bytes must be at least 64KiB");
        }
        if self.database_connections < 2 {
            bail!("database_connections must be at least 2: one that reads and one that writes");
        }
        self.public_url()?;
        self.database()?;
        if let StorageTarget::Objects(_) = self.storage()? {
            self.validate_for_objects()?;
        }
        PartPlan::choose(self.max_file_size.0, self.chunk_size.0, self.max_parts)?;
        Ok(())
    }
}

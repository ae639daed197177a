//! Which values are valid.
//!
//! Owns the limits of single settings, and the checks across settings. Does not own checks that only a module can make,
//! such as the syntax of an origin or the write permission of a folder: that module makes them when the server starts.

use std::time::Duration;

use anyhow::{bail, ensure};
use chrono::TimeDelta;

use super::{Config, StorageTarget};
use crate::{domain::PartPlan, storage::PartSettings};

/// Maximum of every duration setting, 100 years: small enough that adding it to a timestamp never overflows.
const MAX_DURATION: Duration = Duration::from_hours(100 * 365 * 24);

/// Longer than the server tries to send an event to a webhook.
const MIN_EVENT_RETENTION: TimeDelta = TimeDelta::days(4);

/// A node that dies delays the events that it was sending for twice this time.
const MAX_WEBHOOK_TIMEOUT: Duration = Duration::from_mins(5);

impl Config {
    /// Rejects invalid settings. The error names the setting.
    pub(super) fn validate(&self) -> anyhow::Result<()> {
        let Self { server, stores, limits, identity, connections, graphql, documents: _, webhooks, traces } = self;
        ensure!(limits.chunk_size.0 > 0, "chunk_size must be at least one byte");
        ensure!(limits.max_parts > 0, "max_parts must be at least 1");
        ensure!(!stores.data.as_os_str().is_empty(), "data must name a folder");
        if limits.max_file_size.0 > i64::MAX as u64 || limits.chunk_size.0 > i64::MAX as u64 {
            bail!("max_file_size and chunk_size must be less than 8 EiB");
        }
        if limits.session_ttl.is_zero() || limits.sweep_interval.is_zero() || connections.body_idle_timeout.is_zero() {
            bail!("session_ttl, sweep_interval and body_idle_timeout must be longer than zero");
        }
        if connections.max_connections == 0 || connections.keep_alive_timeout.is_zero() {
            bail!("max_connections must be at least 1, and keep_alive_timeout longer than zero");
        }
        ensure!(
            limits.owner_max_bytes.is_none_or(|size| i64::try_from(size.0).is_ok()),
            "owner_max_bytes must be less than 8 EiB"
        );
        ensure!(!limits.part_retention.is_zero(), "part_retention must be longer than zero");
        ensure!(limits.file_retention != Some(TimeDelta::zero()), "file_retention must be longer than zero, or empty");
        ensure!(limits.event_retention >= MIN_EVENT_RETENTION, "event_retention must be at least 4 days");
        ensure!(limits.max_streams_per_owner > 0, "max_streams_per_owner must be at least 1");
        let std = |duration: TimeDelta| duration.to_std().unwrap_or(Duration::MAX);
        for (name, duration) in [
            ("session_ttl", std(limits.session_ttl)),
            ("file_retention", limits.file_retention.map_or(Duration::ZERO, std)),
            ("part_retention", std(limits.part_retention)),
            ("event_retention", std(limits.event_retention)),
            ("sweep_interval", limits.sweep_interval),
            ("body_idle_timeout", connections.body_idle_timeout),
            ("keep_alive_timeout", connections.keep_alive_timeout),
            ("shutdown_timeout", connections.shutdown_timeout),
            ("drain_delay", connections.drain_delay),
            ("graphql_timeout", graphql.timeout),
        ] {
            ensure!(duration <= MAX_DURATION, "{name} must be at most 100 years");
        }
        ensure!(
            webhooks.timeout >= Duration::from_secs(1) && webhooks.timeout <= MAX_WEBHOOK_TIMEOUT,
            "webhook_timeout must be from 1 second to 5 minutes"
        );
        ensure!(graphql.max_response_bytes.0 >= 64 * 1024, "graphql_max_response_bytes must be at least 64KiB");
        ensure!(
            stores.database_connections >= 3,
            "database_connections must be at least 3: one for writes, one for reads of one session, one for other reads"
        );
        identity.check()?;
        traces.check()?;
        server.public_url()?;
        stores.database()?;
        if let StorageTarget::Objects(_) = stores.storage()? {
            let parts = PartSettings {
                chunk_size: limits.chunk_size.0,
                max_parts: limits.max_parts,
                max_file_size: limits.max_file_size.0,
                storage_memory: stores.storage_memory.0,
            };
            parts.check()?;
        }
        PartPlan::choose(limits.max_file_size.0, limits.chunk_size.0, limits.max_parts)?;
        Ok(())
    }
}

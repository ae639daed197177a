//! The limit on file descriptors.
//!
//! Owns raising the limit of this process, and the number of connections that it allows.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// The highest limit to ask for. Some systems report "unlimited" and then refuse to set that.
const MAX_DESCRIPTORS: u64 = 1 << 20;
/// Descriptors that are not for connections: the database, the log, folders during a sync, connections to refuse.
const RESERVED: u64 = 96;
/// One for the connection, and one for its request's file or connection to the object store.
const PER_CONNECTION: u64 = 2;
/// The server allows this number of connections however low the limit is.
const MIN_CONNECTIONS: u64 = 16;

/// Raises the soft limit to the hard limit. Systems keep the soft limit low for programs that use `select`, which fails on
/// descriptors above 1,024; this program does not use it.
pub(crate) fn raise_descriptor_limit() {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let wanted = maximum.unwrap_or(MAX_DESCRIPTORS).min(MAX_DESCRIPTORS);
    if current.is_none_or(|current| current >= wanted) {
        return;
    }
    match setrlimit(Resource::Nofile, Rlimit { current: Some(wanted), maximum }) {
        Ok(()) => tracing::info!(from = current, to = wanted, "raised the limit of file descriptors"),
        Err(error) => tracing::warn!(%error, limit = current, "cannot raise the limit of file descriptors"),
    }
}

/// The number of connections that the limit of file descriptors allows, and at most `wanted`.
pub(super) fn affordable(wanted: u32) -> u32 {
    let Some(limit) = getrlimit(Resource::Nofile).current else { return wanted };
    let affordable = (limit.saturating_sub(RESERVED) / PER_CONNECTION).max(MIN_CONNECTIONS);
    let connections = wanted.min(u32::try_from(affordable).unwrap_or(u32::MAX));
    if connections < wanted {
        tracing::warn!(
            max_connections = wanted,
            connections,
            descriptors = limit,
            "the limit of file descriptors allows fewer connections than `max_connections`"
        );
    }
    connections
}

//! File descriptors: how many this process may have, and how many connections that allows.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// More than any server of this kind uses; some systems say "without limit" and then refuse it.
const MAX_DESCRIPTORS: u64 = 1 << 20;
/// Descriptors that are not for connections: the database, the log, folders while they are synced, refusals.
const RESERVED: u64 = 96;
/// A connection and the file, or the connection to an object store, that its request needs.
const PER_CONNECTION: u64 = 2;
/// Fewer connections make no server, whatever the limit.
const MIN_CONNECTIONS: u64 = 16;

/// Raises the soft limit to the hard one: the soft one is kept low for programs that use `select`, which this one does not.
pub fn raise_descriptor_limit() {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let wanted = maximum.unwrap_or(MAX_DESCRIPTORS).min(MAX_DESCRIPTORS);
    if current.is_none_or(|current| current >= wanted) {
        return;
    }
    match setrlimit(Resource::Nofile, Rlimit { current: Some(wanted), maximum }) {
        Ok(()) => tracing::info!(from = current, to = wanted, "raised the limit of file descriptors"),
        Err(error) => tracing::warn!(%error, limit = current, "the limit of file descriptors cannot be raised"),
    }
}

/// As many connections as the limit of file descriptors allows, at most this many.
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

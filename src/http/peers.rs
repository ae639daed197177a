//! The open connections.
//!
//! Owns the limits on connections, in total and per address, and the eviction: at a limit, the server closes the connection
//! that has been idle for the longest. It never evicts a connection with an active request.

use std::{collections::HashMap, net::IpAddr, sync::Arc, time::Duration};

use parking_lot::{Mutex, MutexGuard};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// The timeouts for a client.
#[derive(Clone, Copy, Debug)]
pub(super) struct Timeouts {
    /// From the connection to the first byte.
    pub(super) first_byte: Duration,
    /// From the first byte of a head to its last.
    pub(super) head: Duration,
    /// From the end of an answer to the first byte of the next head.
    pub(super) keep_alive: Duration,
}

/// The state of one connection.
#[derive(Debug)]
pub(super) struct Peer {
    state: Mutex<State>,
    /// Cancelled when the server evicts the connection.
    pub(super) evicted: CancellationToken,
}

#[derive(Debug)]
struct State {
    /// When the last request ended. `None` while a request is active.
    idle_since: Option<Instant>,
    /// When the first byte of the next head arrived.
    head_since: Option<Instant>,
    /// The server cannot write: the client does not read its answer.
    is_blocked: bool,
    had_request: bool,
}

impl Peer {
    pub(super) fn new() -> Arc<Self> {
        let state = State { idle_since: Some(Instant::now()), head_since: None, is_blocked: false, had_request: false };
        Arc::new(Self { state: Mutex::new(state), evicted: CancellationToken::new() })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }

    /// A request is active until the returned guard is dropped.
    pub(super) fn begin_request(self: &Arc<Self>) -> ActiveRequest {
        let mut state = self.state();
        (state.idle_since, state.head_since, state.had_request) = (None, None, true);
        ActiveRequest(Arc::clone(self))
    }

    /// The client has sent bytes. If no request is active, they begin the next head.
    pub(super) fn note_received_bytes(&self) {
        let mut state = self.state();
        if state.idle_since.is_some() && state.head_since.is_none() {
            state.head_since = Some(Instant::now());
        }
    }

    /// Sets whether the server waits for the client to read.
    pub(super) fn set_blocked(&self, is_blocked: bool) {
        let mut state = self.state();
        state.is_blocked = is_blocked;
        if state.idle_since.is_some() {
            state.idle_since = Some(Instant::now());
        }
    }

    /// The connection has become a WebSocket, which is never idle.
    pub(super) fn mark_upgraded(&self) {
        self.state().idle_since = None;
    }

    /// When the connection became idle; `None` if it is not idle.
    pub(super) fn idle_since(&self) -> Option<Instant> {
        let state = self.state();
        state.idle_since.filter(|_| !state.is_blocked)
    }

    /// When the server closes the connection if the client sends nothing.
    pub(super) fn deadline(&self, timeouts: &Timeouts) -> Option<Instant> {
        let state = self.state();
        let idle_since = state.idle_since.filter(|_| !state.is_blocked)?;
        Some(match state.head_since {
            Some(since) => since + timeouts.head,
            None if state.had_request => idle_since + timeouts.keep_alive,
            None => idle_since + timeouts.first_byte,
        })
    }
}

/// An active request, until it is dropped.
#[derive(Debug)]
pub(super) struct ActiveRequest(Arc<Peer>);

impl Drop for ActiveRequest {
    fn drop(&mut self) {
        self.0.state().idle_since = Some(Instant::now());
    }
}

/// All connections.
#[derive(Debug)]
pub(super) struct Peers {
    max: usize,
    max_per_address: usize,
    connections: Mutex<Connections>,
}

#[derive(Debug, Default)]
struct Connections {
    last_number: u64,
    peers: HashMap<u64, (IpAddr, Arc<Peer>)>,
    per_address: HashMap<IpAddr, usize>,
}

/// A connection's permit. Dropping it frees it.
#[derive(Debug)]
pub(super) struct ConnectionPermit {
    peers: Arc<Peers>,
    number: u64,
}

impl Peers {
    pub(super) fn new(max: usize, max_per_address: usize) -> Arc<Self> {
        Arc::new(Self { max, max_per_address, connections: Mutex::default() })
    }

    /// A permit for a new connection. At a limit, evicts an idle connection. `None` if no connection is idle.
    pub(super) fn enter(self: &Arc<Self>, address: IpAddr) -> Option<(Arc<Peer>, ConnectionPermit)> {
        let address = client_of(address);
        let mut connections = self.connections();
        let from_address = connections.per_address.get(&address).copied().unwrap_or_default();
        if from_address >= self.max_per_address {
            connections.evict_longest_idle(|other| other == address)?;
        }
        if connections.peers.len() >= self.max {
            connections.evict_longest_idle(|_| true)?;
        }
        connections.last_number += 1;
        let (number, peer) = (connections.last_number, Peer::new());
        *connections.per_address.entry(address).or_default() += 1;
        connections.peers.insert(number, (address, Arc::clone(&peer)));
        Some((peer, ConnectionPermit { peers: Arc::clone(self), number }))
    }

    /// Evicts the connection that has been idle for the longest.
    pub(super) fn evict_longest_idle(&self) {
        let _ = self.connections().evict_longest_idle(|_| true);
    }

    fn connections(&self) -> MutexGuard<'_, Connections> {
        self.connections.lock()
    }
}

impl Connections {
    fn evict_longest_idle(&mut self, may_evict: impl Fn(IpAddr) -> bool) -> Option<()> {
        let idle = self.peers.iter().filter(|(_, (address, _))| may_evict(*address));
        let idle = idle.filter_map(|(number, (_, peer))| Some((peer.idle_since()?, *number)));
        let (_, number) = idle.min()?;
        self.remove(number)?.evicted.cancel();
        Some(())
    }

    fn remove(&mut self, number: u64) -> Option<Arc<Peer>> {
        let (address, peer) = self.peers.remove(&number)?;
        if let Some(count) = self.per_address.get_mut(&address) {
            *count -= 1;
            if *count == 0 {
                self.per_address.remove(&address);
            }
        }
        Some(peer)
    }
}

impl Drop for ConnectionPermit {
    fn drop(&mut self) {
        self.peers.connections().remove(self.number);
    }
}

/// The address for which a client's connections are counted. For IPv6 it is the /64 network: one client usually controls all
/// of it.
fn client_of(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6((address.to_bits() & (!0 << 64)).into()),
        address @ IpAddr::V4(_) => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[tokio::test]
    async fn the_longest_idle_connection_is_evicted_and_an_active_one_never_is() {
        let peers = Peers::new(3, 3);
        let (asking, _first) = peers.enter(address("10.0.0.1")).unwrap();
        let request = asking.begin_request();
        let (idle, _second) = peers.enter(address("10.0.0.1")).unwrap();
        let (younger, _third) = peers.enter(address("10.0.0.2")).unwrap();
        let (newest, _fourth) = peers.enter(address("10.0.0.3")).unwrap();
        assert!(idle.evicted.is_cancelled() && !younger.evicted.is_cancelled());
        let _requests = [younger.begin_request(), newest.begin_request()];
        assert!(peers.enter(address("10.0.0.4")).is_none());
        drop(request);
        assert!(peers.enter(address("10.0.0.4")).is_some());
        assert!(asking.evicted.is_cancelled());
    }

    #[tokio::test]
    async fn one_address_cannot_take_every_permit() {
        let peers = Peers::new(4, 2);
        let entered: Vec<_> = ["::ffff:10.0.0.1", "10.0.0.1"].map(|text| peers.enter(address(text)).unwrap()).into();
        let requests: Vec<_> = entered.iter().map(|(peer, _)| peer.begin_request()).collect();
        assert!(peers.enter(address("10.0.0.1")).is_none());
        assert!(peers.enter(address("10.0.0.2")).is_some());
        drop((requests, entered));
        assert!(peers.enter(address("10.0.0.1")).is_some());
        assert!(peers.connections().peers.is_empty(), "a dropped permit is free");
        assert_eq!(client_of(address("2001:db8::1")), client_of(address("2001:db8::2:3")));
    }

    #[tokio::test]
    async fn a_client_that_does_not_read_its_answer_is_not_idle() {
        let peer = Peer::new();
        peer.set_blocked(true);
        assert_eq!(peer.idle_since(), None);
        peer.set_blocked(false);
        assert!(peer.idle_since().is_some());
    }
}

//! The server: which connections are accepted, and how it stops.
//!
//! Owns the accept loop. Over the limits a connection gets one coded refusal, so that the accept loop never timeouts for a
//! client.

use std::{
    net::SocketAddr,
    pin::pin,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use axum::Router;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    ConnectionSettings, MinRate, Shutdown,
    connection::{self, Rules},
    descriptors,
    peers::{Peer, Peers, Timeouts},
    socket::{self, Socket},
};
use crate::service::Service;

/// How long a client may take to begin its first request.
const FIRST_BYTE: Duration = Duration::from_secs(10);
/// How long a client may take to send a request's head, once begun.
const HEAD: Duration = Duration::from_secs(30);
/// Connections that are being refused; those over that are closed without a word.
const MAX_REFUSALS: usize = 32;
/// How long a refusal may take.
const REFUSAL: Duration = Duration::from_secs(5);
/// How often it is logged that connections are refused.
const WARN_EVERY: Duration = Duration::from_mins(1);
/// How long to wait when no connection can be accepted.
const PAUSE: Duration = Duration::from_millis(100);

/// How a server is asked to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StopRequest {
    /// By a user in a terminal: no load balancer has to be waited for.
    Interrupt,
    /// By a supervisor: load balancers get time to choose other servers.
    Terminate,
}

/// All that is served.
#[derive(Debug)]
pub struct Server {
    router: Router,
    overloaded: Router,
    service: Arc<Service>,
    shutdown: Shutdown,
    settings: ConnectionSettings,
    peers: Arc<Peers>,
    refusals: Arc<Semaphore>,
    connections: TaskTracker,
    warned_at: Mutex<Option<Instant>>,
}

impl Server {
    /// A server of these routes; `overloaded` answers connections over the limit.
    pub fn new(
        router: Router,
        overloaded: Router,
        service: Arc<Service>,
        shutdown: Shutdown,
        settings: ConnectionSettings,
    ) -> Self {
        let max = descriptors::affordable(settings.max_connections);
        let max_per_address = match settings.max_connections_per_address {
            0 => (max / 4 * 3).max(1),
            set => set,
        };
        Self {
            router,
            overloaded,
            service,
            shutdown,
            settings,
            peers: Peers::new(max as usize, max_per_address as usize),
            refusals: Arc::new(Semaphore::new(MAX_REFUSALS)),
            connections: TaskTracker::new(),
            warned_at: Mutex::default(),
        }
    }

    /// Serves until told to stop, then lets running requests end. While they run, `/ready` still answers that the
    /// server is stopping, and a client that connects late may send one request.
    pub async fn run(self, listener: TcpListener, stop: impl Future<Output = StopRequest>) {
        let request = self.accept_until(&listener, stop).await;
        self.shutdown.close();
        if request == StopRequest::Terminate && self.shutdown.was_probed() && !self.settings.drain_delay.is_zero() {
            tracing::info!(delay = ?self.settings.drain_delay, "closing: `/ready` answers 503, requests are still served");
            self.accept_until(&listener, tokio::time::sleep(self.settings.drain_delay)).await;
        }
        tracing::info!("stopping: requests under way may finish");
        self.shutdown.stop();
        let drained = tokio::time::timeout(self.settings.shutdown_timeout, self.drain(&listener)).await;
        if drained.is_err() {
            tracing::warn!("requests that did not finish in time are cut off");
        }
        tracing::info!("stopped");
    }

    async fn accept_until<T>(&self, listener: &TcpListener, end: impl Future<Output = T>) -> T {
        let mut end = pin!(end);
        loop {
            tokio::select! {
                (stream, address) = self.accept(listener) => self.admit(stream, address, self.rules(), &self.connections),
                ended = &mut end => return ended,
            }
        }
    }

    /// Timeouts until nothing is under way any more.
    async fn drain(&self, listener: &TcpListener) {
        self.connections.close();
        let (late, last_call) = (TaskTracker::new(), CancellationToken::new());
        let mut ended = pin!(async { tokio::join!(self.connections.wait(), self.shutdown.tasks_ended()) });
        loop {
            let (stream, address) = tokio::select! {
                accepted = self.accept(listener) => accepted,
                _ = &mut ended => break,
            };
            let one_request = Rules { keeps_alive: false, stop: last_call.clone(), ..self.rules() };
            self.admit(stream, address, one_request, &late);
        }
        last_call.cancel();
        late.close();
        late.wait().await;
    }

    async fn accept(&self, listener: &TcpListener) -> (TcpStream, SocketAddr) {
        loop {
            match listener.accept().await {
                Ok((stream, address)) => {
                    socket::prepare(&stream);
                    return (stream, address);
                }
                Err(error) => {
                    // Usually the process is out of file descriptors, which it needs for more than connections.
                    tracing::warn!(%error, "cannot accept connections");
                    self.peers.evict_longest_idle();
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    }

    fn rules(&self) -> Rules {
        Rules {
            router: self.router.clone(),
            timeouts: Timeouts { first_byte: FIRST_BYTE, head: HEAD, keep_alive: self.settings.keep_alive_timeout },
            keeps_alive: true,
            closing: self.shutdown.closing().clone(),
            stop: self.shutdown.stopping().clone(),
        }
    }

    /// Whether it is time to warn again.
    fn may_warn(&self) -> bool {
        let mut warned_at = self.warned_at.lock().unwrap_or_else(PoisonError::into_inner);
        let is_due = warned_at.is_none_or(|at| at.elapsed() >= WARN_EVERY);
        if is_due {
            *warned_at = Some(Instant::now());
        }
        is_due
    }

    fn admit(&self, stream: TcpStream, address: SocketAddr, rules: Rules, connections: &TaskTracker) {
        let rate = MinRate::from(&self.settings);
        if let Some((peer, permit)) = self.peers.enter(address.ip()) {
            connections.spawn(connection::serve(Socket::new(stream, peer, Some(permit), rate), rules));
            return;
        }
        self.service.metrics().connections_refused.inc();
        if self.may_warn() {
            tracing::warn!(%address, "connection refused: the limit of all connections, or of one address, is reached");
        }
        if let Ok(refusal) = Arc::clone(&self.refusals).try_acquire_owned() {
            let rules = Rules { router: self.overloaded.clone(), keeps_alive: false, ..rules };
            let refuse = connection::serve(Socket::new(stream, Peer::new(), None, rate), rules);
            tokio::spawn(async move {
                let _ = tokio::time::timeout(REFUSAL, refuse).await;
                drop(refusal);
            });
        }
    }
}

//! The server: its accept loop and its graceful stop.
//!
//! Owns which connections the server accepts, and the steps of the shutdown. The accept loop never waits for a client: a
//! connection over the limits gets one refusal with a code, in a task of its own.

use std::{
    net::SocketAddr,
    pin::pin,
    sync::Arc,
    time::{Duration, Instant},
};

use axum::Router;
use parking_lot::Mutex;
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
use crate::{metrics::Held, service::Service};

/// Time from the connection to the first byte of its first request.
const FIRST_BYTE_TIMEOUT: Duration = Duration::from_secs(10);
/// Time from the first byte of a request's head to its last.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);
/// Refusals at the same time. The server closes further connections without an answer.
const MAX_REFUSALS: usize = 32;
/// Time for a refusal, from the connection to the end of its answer.
const REFUSAL_TIMEOUT: Duration = Duration::from_secs(5);
/// Time between two warnings about refused connections.
const WARNING_INTERVAL: Duration = Duration::from_mins(1);
/// Pause after a failed accept.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Who asks the server to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StopRequest {
    /// A user in a terminal. The server does not wait for load balancers.
    Interrupt,
    /// A supervisor. The server gives load balancers `drain_delay` to choose other servers.
    Terminate,
}

/// The server, with its routes and its connections.
#[derive(Debug)]
pub(crate) struct Server {
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
    /// A server of these routes. `overloaded` answers connections over the limit.
    pub(crate) fn new(
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

    /// Serves until `stop` completes, then waits up to `shutdown_timeout` for active requests. During that time the server
    /// still accepts connections, with one request each: load balancers see at `/ready` that it is stopping.
    pub(crate) async fn run(self, listener: TcpListener, stop: impl Future<Output = StopRequest>) {
        let request = self.accept_until(&listener, stop).await;
        self.shutdown.close();
        if request == StopRequest::Terminate && self.shutdown.was_probed() && !self.settings.drain_delay.is_zero() {
            tracing::info!(
                delay = ?self.settings.drain_delay,
                "closing: `/ready` answers 503, and the server accepts requests until the delay has passed"
            );
            self.accept_until(&listener, tokio::time::sleep(self.settings.drain_delay)).await;
        }
        tracing::info!("stopping: the server waits for active requests");
        self.shutdown.stop();
        let drained = tokio::time::timeout(self.settings.shutdown_timeout, self.drain(&listener)).await;
        if drained.is_err() {
            tracing::warn!("the server cancels requests that did not end within `shutdown_timeout`");
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

    /// Waits for active requests and for tracked tasks. Answers late connections meanwhile.
    async fn drain(&self, listener: &TcpListener) {
        self.connections.close();
        let (late, all_ended) = (TaskTracker::new(), CancellationToken::new());
        let mut ended = pin!(async { tokio::join!(self.connections.wait(), self.shutdown.tasks_ended()) });
        loop {
            let (stream, address) = tokio::select! {
                accepted = self.accept(listener) => accepted,
                _ = &mut ended => break,
            };
            let one_request = Rules { keeps_alive: false, stop: all_ended.clone(), ..self.rules() };
            self.admit(stream, address, one_request, &late);
        }
        all_ended.cancel();
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
                    // Usually the process has no free file descriptor. Files and the database need some, too.
                    tracing::warn!(%error, "cannot accept connections");
                    self.peers.evict_longest_idle();
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    fn rules(&self) -> Rules {
        Rules {
            router: self.router.clone(),
            timeouts: Timeouts {
                first_byte: FIRST_BYTE_TIMEOUT,
                head: HEAD_TIMEOUT,
                keep_alive: self.settings.keep_alive_timeout,
            },
            keeps_alive: true,
            closing: self.shutdown.closing().clone(),
            stop: self.shutdown.stopping().clone(),
        }
    }

    /// Whether the last warning is at least [`WARNING_INTERVAL`] old.
    fn may_warn(&self) -> bool {
        let mut warned_at = self.warned_at.lock();
        let is_due = warned_at.is_none_or(|at| at.elapsed() >= WARNING_INTERVAL);
        if is_due {
            *warned_at = Some(Instant::now());
        }
        is_due
    }

    fn admit(&self, stream: TcpStream, address: SocketAddr, rules: Rules, connections: &TaskTracker) {
        let rate = MinRate::from(&self.settings);
        if let Some((peer, permit)) = self.peers.enter(address.ip()) {
            let open = Held::new(&self.service.metrics().connections);
            let serve = connection::serve(Socket::new(stream, peer, Some(permit), rate), rules);
            connections.spawn(async move {
                serve.await;
                drop(open);
            });
            return;
        }
        self.service.metrics().connections_refused.inc();
        if self.may_warn() {
            tracing::warn!(
                %address,
                "the server refuses a connection: `max_connections` or `max_connections_per_address` is reached"
            );
        }
        if let Ok(refusal) = Arc::clone(&self.refusals).try_acquire_owned() {
            let rules = Rules { router: self.overloaded.clone(), keeps_alive: false, ..rules };
            let refuse = connection::serve(Socket::new(stream, Peer::new(), None, rate), rules);
            tokio::spawn(async move {
                let _ = tokio::time::timeout(REFUSAL_TIMEOUT, refuse).await;
                drop(refusal);
            });
        }
    }
}

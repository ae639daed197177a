//! A TCP proxy between a server and a service that it needs. A test can cut the connections or stop all traffic, now or after a
//! number of bytes.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicU64, Ordering},
};

use tokio::{
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinSet,
};
use tokio_util::io::InspectReader;

/// Forwards connections to another address.
pub(crate) struct Proxy {
    pub(crate) address: String,
    target: Arc<Mutex<Option<String>>>,
    connections: Arc<Mutex<JoinSet<()>>>,
    traffic: Arc<Traffic>,
}

struct Traffic {
    silence: watch::Sender<Silence>,
    /// How many bytes the proxy forwards before it becomes silent, in both directions together.
    bytes_left: AtomicU64,
}

/// Whether new connections carry traffic. A connection that was open when a silence began stays silent until it closes, so
/// this counts how often a silence began.
#[derive(Clone, Copy, Default)]
struct Silence {
    is_on: bool,
    count: u32,
}

impl Proxy {
    pub(crate) async fn to(target: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let proxy = Self {
            address: listener.local_addr().unwrap().to_string(),
            target: Arc::new(Mutex::new(Some(target.to_owned()))),
            connections: Arc::default(),
            traffic: Arc::new(Traffic { silence: watch::Sender::default(), bytes_left: AtomicU64::new(u64::MAX) }),
        };
        let (target, connections) = (Arc::clone(&proxy.target), Arc::clone(&proxy.connections));
        let traffic = Arc::clone(&proxy.traffic);
        tokio::spawn(async move {
            loop {
                let (near, _) = listener.accept().await.unwrap();
                // Without a target, the proxy closes the connection at once.
                let Some(target) = target.lock().unwrap().clone() else { continue };
                connections.lock().unwrap().spawn(forward(near, target, Arc::clone(&traffic)));
            }
        });
        proxy
    }

    /// Cuts every connection. The proxy still accepts new ones.
    pub(crate) async fn cut(&self) {
        let mut connections = std::mem::take(&mut *self.connections.lock().unwrap());
        connections.shutdown().await;
    }

    /// Cuts every connection and rejects new ones until `open`. Returns the target.
    pub(crate) async fn close(&self) -> String {
        let target = self.target.lock().unwrap().take().unwrap();
        self.cut().await;
        target
    }

    /// Accepts new connections again.
    pub(crate) fn open(&self, target: String) {
        *self.target.lock().unwrap() = Some(target);
    }

    /// Stops all traffic but closes no connection. Accepts new connections but forwards nothing.
    pub(crate) fn be_silent(&self) {
        self.traffic.be_silent();
    }

    /// Forwards new connections again. The existing ones stay silent.
    pub(crate) fn speak(&self) {
        self.be_silent_after(u64::MAX);
    }

    /// Forwards new connections, and becomes silent after about this many bytes. The last piece is forwarded whole.
    pub(crate) fn be_silent_after(&self, bytes: u64) {
        self.traffic.bytes_left.store(bytes, Ordering::Relaxed);
        self.traffic.silence.send_modify(|silence| silence.is_on = false);
    }

    pub(crate) fn is_silent(&self) -> bool {
        self.traffic.silence.borrow().is_on
    }
}

impl Traffic {
    fn be_silent(&self) {
        self.silence.send_modify(|silence| *silence = Silence { is_on: true, count: silence.count + 1 });
    }

    /// Counts bytes that the proxy forwards.
    fn count(&self, bytes: &[u8]) {
        let bytes = bytes.len() as u64;
        let subtract = |left: u64| Some(left.saturating_sub(bytes));
        let left = self.bytes_left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, subtract).unwrap();
        if (1..=bytes).contains(&left) {
            self.be_silent();
        }
    }
}

async fn forward(near: TcpStream, target: String, traffic: Arc<Traffic>) {
    let mut silence = traffic.silence.subscribe();
    let Silence { is_on, count } = *silence.borrow_and_update();
    if !is_on {
        let Ok(far) = TcpStream::connect(target).await else { return };
        let counted = |stream| InspectReader::new(stream, |bytes: &[u8]| traffic.count(bytes));
        let (mut near, mut far) = (counted(near), counted(far));
        tokio::select! {
            _ = tokio::io::copy_bidirectional(&mut near, &mut far) => return,
            _ = silence.wait_for(|silence| silence.count != count) => {}
        }
        // Keep both sockets open.
        std::future::pending::<()>().await;
    }
    std::future::pending::<()>().await;
}

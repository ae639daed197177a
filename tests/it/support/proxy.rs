//! A TCP proxy between a server and a service that it needs. A test can cut the connections or stop all traffic.

use std::sync::{Arc, Mutex};

use tokio::{
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinSet,
};

/// Forwards connections to another address.
pub(crate) struct Proxy {
    pub(crate) address: String,
    target: Arc<Mutex<Option<String>>>,
    connections: Arc<Mutex<JoinSet<()>>>,
    silence: watch::Sender<Silence>,
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
            silence: watch::Sender::default(),
        };
        let (target, connections) = (Arc::clone(&proxy.target), Arc::clone(&proxy.connections));
        let silence = proxy.silence.subscribe();
        tokio::spawn(async move {
            loop {
                let (near, _) = listener.accept().await.unwrap();
                // Without a target, the proxy closes the connection at once.
                let Some(target) = target.lock().unwrap().clone() else { continue };
                connections.lock().unwrap().spawn(forward(near, target, silence.clone()));
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
        self.silence.send_modify(|silence| *silence = Silence { is_on: true, count: silence.count + 1 });
    }

    /// Forwards new connections again. The existing ones stay silent.
    pub(crate) fn speak(&self) {
        self.silence.send_modify(|silence| silence.is_on = false);
    }
}

async fn forward(mut near: TcpStream, target: String, mut silence: watch::Receiver<Silence>) {
    let Silence { is_on, count } = *silence.borrow_and_update();
    if !is_on {
        let Ok(mut far) = TcpStream::connect(target).await else { return };
        tokio::select! {
            _ = tokio::io::copy_bidirectional(&mut near, &mut far) => return,
            _ = silence.wait_for(|silence| silence.count != count) => {}
        }
        // Keep both sockets open.
        std::future::pending::<()>().await;
    }
    std::future::pending::<()>().await;
}

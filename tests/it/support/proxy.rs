//! A wire that can be cut: between a server and what it depends on.

use std::sync::{Arc, Mutex};

use tokio::{
    net::{TcpListener, TcpStream},
    task::JoinSet,
};

/// Passes connections on to another address.
pub(crate) struct Proxy {
    pub(crate) address: String,
    target: Arc<Mutex<Option<String>>>,
    connections: Arc<Mutex<JoinSet<()>>>,
}

impl Proxy {
    pub(crate) async fn to(target: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let proxy = Self {
            address: listener.local_addr().unwrap().to_string(),
            target: Arc::new(Mutex::new(Some(target.to_owned()))),
            connections: Arc::default(),
        };
        let (target, connections) = (Arc::clone(&proxy.target), Arc::clone(&proxy.connections));
        tokio::spawn(async move {
            loop {
                let (mut near, _) = listener.accept().await.unwrap();
                // Without a target the connection is dropped at once.
                let Some(target) = target.lock().unwrap().clone() else { continue };
                connections.lock().unwrap().spawn(async move {
                    if let Ok(mut far) = TcpStream::connect(target).await {
                        let _ = tokio::io::copy_bidirectional(&mut near, &mut far).await;
                    }
                });
            }
        });
        proxy
    }

    /// Cuts every connection; new ones are passed on.
    pub(crate) async fn cut(&self) {
        let mut connections = std::mem::take(&mut *self.connections.lock().unwrap());
        connections.shutdown().await;
    }

    /// Cuts every connection and lets no new one through. Answers where they went.
    pub(crate) async fn close(&self) -> String {
        let target = self.target.lock().unwrap().take().unwrap();
        self.cut().await;
        target
    }

    pub(crate) fn open(&self, target: String) {
        *self.target.lock().unwrap() = Some(target);
    }
}

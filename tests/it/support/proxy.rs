//! A wire that can be cut, or go silent: between a server and what it depends on.

use std::sync::{Arc, Mutex};

use tokio::{
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinSet,
};

/// Passes connections on to another address.
pub(crate) struct Proxy {
    pub(crate) address: String,
    target: Arc<Mutex<Option<String>>>,
    connections: Arc<Mutex<JoinSet<()>>>,
    silence: watch::Sender<Silence>,
}

/// Whether new connections are silent, and how often that has begun: those from before stay silent for ever.
#[derive(Clone, Copy, Default)]
struct Silence {
    is_on: bool,
    begun: u32,
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
                // Without a target the connection is dropped at once.
                let Some(target) = target.lock().unwrap().clone() else { continue };
                connections.lock().unwrap().spawn(pass_on(near, target, silence.clone()));
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

    /// Passes nothing on any more, and closes nothing; new connections are taken and get no answer.
    pub(crate) fn be_silent(&self) {
        self.silence.send_modify(|silence| *silence = Silence { is_on: true, begun: silence.begun + 1 });
    }

    /// Passes new connections on. Those that there were stay silent.
    pub(crate) fn speak(&self) {
        self.silence.send_modify(|silence| silence.is_on = false);
    }
}

async fn pass_on(mut near: TcpStream, target: String, mut silence: watch::Receiver<Silence>) {
    let Silence { is_on, begun } = *silence.borrow_and_update();
    if !is_on {
        let Ok(mut far) = TcpStream::connect(target).await else { return };
        tokio::select! {
            _ = tokio::io::copy_bidirectional(&mut near, &mut far) => return,
            _ = silence.wait_for(|silence| silence.begun != begun) => {}
        }
        // Both stay open.
        std::future::pending::<()>().await;
    }
    std::future::pending::<()>().await;
}

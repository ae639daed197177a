//! The shutdown of a server.
//!
//! Owns its two steps. First the server *closes*: `/ready` answers 503, so that load balancers choose another node, and the
//! server still serves requests. Then it *stops*: streams and sockets end, and active requests may finish. Does not own the
//! signals that cause it: those are in `cli/serve.rs`.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// The shutdown of one server. Its parts share it as clones.
#[derive(Clone, Debug, Default)]
pub struct Shutdown {
    closing: CancellationToken,
    stopping: CancellationToken,
    tasks: TaskTracker,
    was_probed: Arc<AtomicBool>,
}

impl Shutdown {
    /// Step 1: `/ready` answers 503, and answers have `Connection: close`.
    pub(super) fn close(&self) {
        self.closing.cancel();
    }

    /// Step 2: everything that has no end of its own, such as a stream, ends now.
    pub fn stop(&self) {
        self.closing.cancel();
        self.stopping.cancel();
        self.tasks.close();
    }

    /// Whether the server is closing, for `/ready`. Records that `/ready` was requested.
    pub fn probe(&self) -> bool {
        self.was_probed.store(true, Ordering::Relaxed);
        self.closing.is_cancelled()
    }

    /// Whether `/ready` was ever requested. If not, no load balancer has to notice the shutdown.
    pub(super) fn was_probed(&self) -> bool {
        self.was_probed.load(Ordering::Relaxed)
    }

    /// Cancelled when the server closes.
    pub(super) fn closing(&self) -> &CancellationToken {
        &self.closing
    }

    /// Cancelled when the server stops.
    pub fn stopping(&self) -> &CancellationToken {
        &self.stopping
    }

    /// Runs a task that outlives its request, such as a WebSocket, so that the server waits for its end.
    pub fn track<F: Future>(&self, task: F) -> impl Future<Output = F::Output> + use<F> {
        self.tasks.track_future(task)
    }

    /// Waits until all tracked tasks have ended.
    pub(super) async fn tasks_ended(&self) {
        self.tasks.wait().await;
    }
}

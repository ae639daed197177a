//! What a server does without a request.
//!
//! Owns when the sweep, the deliveries to webhooks, the protection of downloads and the reading of metrics run. Does not own what they do: that is
//! `service`.

use std::{sync::Arc, time::Duration};

use tokio::{
    task::JoinSet,
    time::{Interval, MissedTickBehavior},
};

use crate::service::Service;

/// The time between two protections of the files that this node is sending.
const PROTECTION_INTERVAL: Duration = Duration::from_secs(2);
/// How long an event of another node, or a delivery that is due, may wait.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
/// The pause between two rounds. Each round numbers all new events in one transaction, which the uploads that end meanwhile would
/// wait for: on SQLite there is one writer.
const SHORTEST_PAUSE: Duration = Duration::from_millis(100);
/// The pause after an error of the database, so that the log stays readable.
const PAUSE_AFTER_ERROR: Duration = Duration::from_secs(10);

/// The time between two reads of the free space and of the events that wait: less than Prometheus waits between two scrapes.
const METRICS_INTERVAL: Duration = Duration::from_secs(10);

/// Starts the tasks. They end when the set is dropped.
pub(super) fn run(service: &Arc<Service>, sweep_interval: Duration) -> JoinSet<()> {
    let mut tasks = JoinSet::new();
    tasks.spawn(sweep_periodically(Arc::clone(service), sweep_interval));
    tasks.spawn(deliver_continuously(Arc::clone(service)));
    tasks.spawn(protect_downloads(Arc::clone(service)));
    tasks.spawn(refresh_metrics(Arc::clone(service)));
    tasks
}

async fn sweep_periodically(service: Arc<Service>, interval: Duration) {
    let mut ticks = ticks(interval);
    loop {
        ticks.tick().await;
        service.sweep().await;
    }
}

/// Sends events to webhooks: at once if this node has ended an upload, else after other nodes did so or a delivery is due.
async fn deliver_continuously(service: Arc<Service>) {
    loop {
        let pause = match service.start_deliveries().await {
            Ok(_) => LONGEST_PAUSE,
            Err(error) => {
                error.log();
                PAUSE_AFTER_ERROR
            }
        };
        tokio::time::sleep(SHORTEST_PAUSE).await;
        service.events_or_timeout(pause).await;
    }
}

/// Protects the files that this node is sending. Not a step of the sweep, because a sweep can take longer than the protection
/// lasts.
async fn protect_downloads(service: Arc<Service>) {
    let mut ticks = ticks(PROTECTION_INTERVAL);
    loop {
        ticks.tick().await;
        if let Err(error) = service.protect_downloads().await {
            error.log();
        }
    }
}

/// Not a step of the sweep, because a sweep can take long, or be rare. An error is no news: the other tasks log it.
async fn refresh_metrics(service: Arc<Service>) {
    let mut ticks = ticks(METRICS_INTERVAL);
    loop {
        ticks.tick().await;
        if let Err(error) = service.refresh_metrics().await {
            tracing::debug!(error = error.with_causes(), "cannot read the events that wait");
        }
    }
}

fn ticks(interval: Duration) -> Interval {
    let mut ticks = tokio::time::interval(interval);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}

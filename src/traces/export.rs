//! The queue before the export, and what has become of the spans.
//!
//! Owns the limit of the queue. A collector that is slow or down costs spans, which are counted, and never delays a request: the end of a
//! span only puts it into the queue, and one thread sends batches from there.

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    time::{Duration, Instant},
};

use opentelemetry::Context;
use opentelemetry_otlp::SpanExporter;
use opentelemetry_sdk::{
    Resource,
    error::OTelSdkResult,
    trace::{BatchSpanProcessor, Span, SpanData, SpanProcessor},
};
use parking_lot::Mutex;

use super::server;
use crate::metrics::{SPANS, SpanOutcome};

/// The largest number of spans that wait for the export, those that are being sent included.
pub(super) const MAX_QUEUED: usize = 2_048;
/// How often the log says so at most.
const WARN_INTERVAL: Duration = Duration::from_mins(1);

/// The spans that wait. There is one export in a process.
static QUEUED: AtomicUsize = AtomicUsize::new(0);
/// When the log said last that spans are lost.
static WARNED: Mutex<Option<Instant>> = Mutex::new(None);

/// Puts spans into the queue while there is room.
#[derive(Debug)]
pub(super) struct Bounded(pub(super) BatchSpanProcessor);

impl SpanProcessor for Bounded {
    fn on_start(&self, _span: &mut Span, _context: &Context) {}

    fn on_end(&self, mut span: SpanData) {
        if !span.span_context.is_sampled() {
            return;
        }
        server::finish(&mut span);
        let has_room = |queued| (queued < MAX_QUEUED).then_some(queued + 1);
        match QUEUED.fetch_update(Ordering::Relaxed, Ordering::Relaxed, has_room) {
            Ok(_) => self.0.on_end(span),
            // Not logged here: this is a callback of the log. The next export is.
            Err(_) => SPANS.count(SpanOutcome::Dropped),
        }
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.0.force_flush()
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.0.shutdown_with_timeout(timeout)
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.0.set_resource(resource);
    }
}

/// Sends batches, and counts what has become of them.
#[derive(Debug)]
pub(super) struct Counted(pub(super) SpanExporter);

impl opentelemetry_sdk::trace::SpanExporter for Counted {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let spans = batch.len();
        let exported = self.0.export(batch).await;
        QUEUED.fetch_sub(spans, Ordering::Relaxed);
        match &exported {
            Ok(()) => {
                SPANS.of(SpanOutcome::Exported).inc_by(spans as u64);
            }
            Err(error) => {
                SPANS.of(SpanOutcome::Failed).inc_by(spans as u64);
                warn(&error.to_string());
            }
        }
        exported
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.0.shutdown_with_timeout(timeout)
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.0.set_resource(resource);
    }
}

/// Says that spans are lost, once per minute.
fn warn(reason: &str) {
    let mut warned = WARNED.lock();
    if warned.is_none_or(|last| last.elapsed() >= WARN_INTERVAL) {
        *warned = Some(Instant::now());
        drop(warned);
        let dropped = SPANS.of(SpanOutcome::Dropped).get();
        tracing::warn!(reason, dropped, "the collector does not accept spans; they are lost");
    }
}

//! Traces: spans that the server exports to a collector, by OTLP.
//!
//! Owns the export: how many spans, the queue before it, and its end. Owns what is exported of a request (`server`), and the trace
//! context that a request brings (`context`). Does not own the log: that is `logs`. Does not own the spans of steps: those are
//! where the steps are, made with `spans`.

mod context;
mod export;
mod server;
mod settings;

use std::{sync::atomic::Ordering, time::Duration};

use anyhow::{Context as _, anyhow};
use opentelemetry::{Key, KeyValue, trace::TracerProvider as _};
use opentelemetry_otlp::{Protocol, SpanExporter, WithExportConfig as _, WithHttpConfig as _};
use opentelemetry_sdk::{
    Resource,
    trace::{BatchConfigBuilder, BatchSpanProcessor, Sampler, SdkTracerProvider},
};
use reqwest::redirect::Policy;
use tracing_subscriber::{Layer, filter::filter_fn, registry::LookupSpan};
use uuid::Uuid;

pub use self::settings::TraceSettings;
pub(crate) use self::{
    context::{SpanContext, parent},
    server::{Answer, Head, ServerSpan},
};
use crate::tls;

/// The targets of the spans of this crate: of requests, and of steps. The spans of other crates are not exported.
const OWN_TARGETS: &str = "partway";
/// How long the collector may take to answer.
const EXPORT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long the end of the process waits for the export of the last spans.
const STOP_TIMEOUT: Duration = Duration::from_secs(3);
/// The name of the service, unless `OTEL_SERVICE_NAME` or `OTEL_RESOURCE_ATTRIBUTES` has another one.
const SERVICE_NAME: &str = "partway";

/// The export of spans. Dropping it loses the spans that are not exported yet; [`stop`](Self::stop) exports them.
#[derive(Debug)]
pub(crate) struct Traces(SdkTracerProvider);

impl Traces {
    /// Starts the export, unless the settings name no collector.
    ///
    /// # Errors
    /// The settings, or the `OTEL_…` variables that the exporter reads, are invalid.
    pub(crate) fn start(settings: &TraceSettings) -> anyhow::Result<Option<Self>> {
        let Some(url) = settings.url()? else { return Ok(None) };
        let exporter = SpanExporter::builder()
            .with_http()
            .with_http_client(client(&url)?)
            .with_endpoint(url)
            .with_protocol(Protocol::HttpBinary)
            .with_timeout(EXPORT_TIMEOUT)
            .build()
            .context("otlp_endpoint")?;
        let batches = BatchConfigBuilder::default().with_max_queue_size(export::MAX_QUEUED).build();
        let batches = BatchSpanProcessor::builder(export::Counted(exporter)).with_batch_config(batches).build();
        let provider = SdkTracerProvider::builder()
            .with_span_processor(export::Bounded(batches))
            .with_sampler(Sampler::ParentBased(Box::new(Sampler::TraceIdRatioBased(settings.sample_ratio))))
            .with_resource(resource())
            .build();
        server::IS_ON.store(true, Ordering::Relaxed);
        Ok(Some(Self(provider)))
    }

    /// What a subscriber needs to export spans.
    pub(crate) fn layer<S>(&self) -> impl Layer<S> + Send + Sync + use<S>
    where
        S: tracing::Subscriber + for<'a> LookupSpan<'a> + Send + Sync,
    {
        tracing_opentelemetry::layer()
            .with_tracer(self.0.tracer(SERVICE_NAME))
            .with_context_activation(false)
            .with_tracked_inactivity(false)
            .with_location(false)
            .with_threads(false)
            .with_target(false)
            .with_filter(filter_fn(|metadata| metadata.is_span() && metadata.target().starts_with(OWN_TARGETS)))
    }

    /// Exports the spans that have ended, and stops. Waits at most 3 seconds for the collector.
    pub(crate) async fn stop(self) {
        let stopping = tokio::task::spawn_blocking(move || self.0.shutdown_with_timeout(STOP_TIMEOUT));
        match tokio::time::timeout(STOP_TIMEOUT, stopping).await {
            Ok(Ok(Ok(()))) => {}
            failed => tracing::warn!(?failed, "the last spans were not exported"),
        }
    }
}

/// The client that sends spans. A thread of its own builds it, because it has its own runtime, which no task may create.
fn client(url: &str) -> anyhow::Result<reqwest::blocking::Client> {
    tls::use_ring();
    let builder = reqwest::blocking::Client::builder().timeout(EXPORT_TIMEOUT).redirect(Policy::none());
    // Without TLS it needs no certificates, which a small image may not have.
    let builder = if url.starts_with("https:") { builder } else { builder.tls_certs_only([]) };
    let built = std::thread::spawn(|| builder.build()).join();
    built.map_err(|_| anyhow!("the client of the collector panicked"))?.context("the client of the collector")
}

/// What describes this process. The SDK reads the standard variables, and calls a service without a name `unknown_service`.
fn resource() -> Resource {
    let name = Resource::builder().build().get(&Key::from_static_str("service.name"));
    let is_named = name.is_some_and(|name| !name.as_str().starts_with("unknown_service"));
    let described = Resource::builder().with_attributes([
        KeyValue::new("service.version", env!("CARGO_PKG_VERSION")),
        KeyValue::new("service.instance.id", Uuid::now_v7().to_string()),
    ]);
    if is_named { described.build() } else { described.with_service_name(SERVICE_NAME).build() }
}

//! A collector of traces on its own port, which speaks OTLP by HTTP. It keeps what it has received.

use std::{collections::HashMap, sync::Arc};

use axum::{
    Router,
    body::Bytes,
    extract::State,
    http::{HeaderMap, StatusCode, header},
    response::IntoResponse,
    routing::post,
};
use opentelemetry_proto::tonic::{
    collector::trace::v1::{ExportTraceServiceRequest, ExportTraceServiceResponse},
    common::v1::{AnyValue, KeyValue, any_value::Value},
    trace::v1::Span,
};
use parking_lot::Mutex;
use prost::Message;
use tokio::net::TcpListener;

#[derive(Clone, Default)]
pub(crate) struct Collector {
    pub(crate) url: String,
    hangs: bool,
    requests: Arc<Mutex<Vec<(HeaderMap, ExportTraceServiceRequest)>>>,
}

impl Collector {
    /// Accepts everything.
    pub(crate) async fn start() -> Self {
        Self::listen(false).await
    }

    /// Accepts connections and requests, and never answers.
    pub(crate) async fn start_hanging() -> Self {
        Self::listen(true).await
    }

    async fn listen(hangs: bool) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let collector = Self { url, hangs, ..Self::default() };
        let router = Router::new().route("/v1/traces", post(receive)).with_state(collector.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        collector
    }

    /// The settings of a server that exports to it.
    pub(crate) fn settings(&self) -> [(&str, &str); 2] {
        [("PARTWAY_OTLP_ENDPOINT", &self.url), ("RUST_LOG", "info")]
    }

    pub(crate) fn requests(&self) -> usize {
        self.requests.lock().len()
    }

    /// The headers of the first request.
    pub(crate) fn headers(&self) -> HeaderMap {
        self.requests.lock()[0].0.clone()
    }

    /// The attributes of the service.
    pub(crate) fn resource(&self) -> HashMap<String, String> {
        let requests = self.requests.lock();
        attributes(&requests[0].1.resource_spans[0].resource.as_ref().unwrap().attributes)
    }

    /// Everything that was received.
    pub(crate) fn spans(&self) -> Vec<Span> {
        let requests = self.requests.lock();
        let resources = requests.iter().flat_map(|(_, request)| &request.resource_spans);
        resources.flat_map(|resource| &resource.scope_spans).flat_map(|scope| scope.spans.clone()).collect()
    }

    /// The only span with this name.
    #[track_caller]
    pub(crate) fn span(&self, name: &str) -> Span {
        let spans = self.spans();
        let names: Vec<_> = spans.iter().map(|span| span.name.clone()).collect();
        let mut found = spans.into_iter().filter(|span| span.name == name);
        match (found.next(), found.next()) {
            (Some(only), None) => only,
            _ => panic!("not one span {name}: {names:?}"),
        }
    }

    /// All bytes that were received, as text.
    pub(crate) fn text(&self) -> String {
        self.requests.lock().iter().map(|(_, request)| format!("{request:?}")).collect()
    }
}

/// The attributes of a span.
pub(crate) fn attributes(attributes: &[KeyValue]) -> HashMap<String, String> {
    let text = |value: &Option<AnyValue>| match value.as_ref().and_then(|value| value.value.clone()).unwrap() {
        Value::StringValue(text) => text,
        Value::IntValue(number) => number.to_string(),
        other => format!("{other:?}"),
    };
    attributes.iter().map(|attribute| (attribute.key.clone(), text(&attribute.value))).collect()
}

async fn receive(State(collector): State<Collector>, headers: HeaderMap, body: Bytes) -> impl IntoResponse {
    let Ok(request) = ExportTraceServiceRequest::decode(body) else {
        return StatusCode::BAD_REQUEST.into_response();
    };
    collector.requests.lock().push((headers, request));
    if collector.hangs {
        std::future::pending::<()>().await;
    }
    let answer = ExportTraceServiceResponse::default().encode_to_vec();
    ([(header::CONTENT_TYPE, "application/x-protobuf")], answer).into_response()
}

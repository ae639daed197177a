//! The outermost layer: a request's id, its spans in the log and in a trace, and its metrics.
//!
//! Owns the rules for the ids that clients send. It also writes the body of an error, which contains the request's id. It is
//! one layer in place of four from tower-http: those took a fifth of the time of a status read.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Instant,
};

use anyhow::Context;
use axum::{
    extract::{MatchedPath, Request, State},
    http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode},
    middleware::Next,
    response::{IntoResponse, Response},
};
use tower_http::request_id::RequestId;
use tracing::Instrument;

use super::{host::InvalidHost, problem};
use crate::{
    metrics::RequestLabels,
    service::Service,
    traces::{self, Answer, Head, ServerSpan},
};

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");
/// Longest request id in bytes that the server accepts from a client.
const MAX_ID_BYTES: usize = 128;

/// What the layer needs.
#[derive(Clone, Debug)]
pub(crate) struct Observer {
    service: Arc<Service>,
    ids: Arc<RequestIds>,
}

/// Generates ids for requests without one. It counts from a random number, so that the ids of two processes differ.
#[derive(Debug)]
struct RequestIds(AtomicU64);

impl RequestIds {
    fn next(&self) -> RequestId {
        let id = format!("{:016x}", self.0.fetch_add(1, Ordering::Relaxed));
        RequestId::new(HeaderValue::try_from(id).expect("digits are printable"))
    }
}

impl Observer {
    /// An observer that records into the service's metrics.
    ///
    /// # Errors
    /// If the operating system provides no random number.
    pub(crate) fn new(service: Arc<Service>) -> anyhow::Result<Self> {
        let ids = Arc::new(RequestIds(AtomicU64::new(getrandom::u64().context("random numbers")?)));
        Ok(Self { service, ids })
    }
}

/// The layer.
pub(crate) async fn observe(State(observer): State<Observer>, mut request: Request, next: Next) -> Response {
    let start = Instant::now();
    let sent = request.headers().get(&REQUEST_ID).filter(|id| is_usable(id)).cloned().map(RequestId::new);
    let id = sent.unwrap_or_else(|| observer.ids.next());
    // The query string and the headers may contain secrets, so logs and traces have only method and path.
    let shown = id.header_value().to_str().ok();
    let (method, route) = (request.method().clone(), request.extensions().get::<MatchedPath>().cloned());
    let path = request.uri().path();
    let parent = sent_context(request.headers());
    let trace_id = parent.as_ref().map(|parent| tracing::field::display(parent.trace_id()));
    let span = tracing::info_span!("request", %method, path, id = shown, trace_id);
    let head = Head { method: method.as_str(), route: route.as_ref().map(MatchedPath::as_str), path, id: shown };
    let server = ServerSpan::begin(&span, parent, head);
    request.extensions_mut().insert(id.clone());
    let invalid_host = request.extensions_mut().remove::<InvalidHost>();
    let response = async {
        let response = match invalid_host {
            Some(invalid) => invalid.into_response(),
            None => next.run(request).await,
        };
        let code = problem::error_of(&response).map(|error| error.code().as_str());
        (problem::render(response, &id), code)
    };
    let (mut response, code) = response.instrument(span).await;
    server.end(Answer { status: response.status().as_u16(), code });
    if let Some(route) = route.filter(|_| response.status() != StatusCode::METHOD_NOT_ALLOWED) {
        observer.count(&method, &route, response.status(), start);
    }
    response.headers_mut().insert(REQUEST_ID, id.into_header_value());
    response
}

/// The trace context that the client sent.
fn sent_context(headers: &HeaderMap) -> Option<traces::SpanContext> {
    // Most requests have none.
    headers.contains_key(TRACEPARENT).then(|| {
        let all = |name| headers.get_all(name).into_iter().map(HeaderValue::as_bytes);
        traces::parent(all(TRACEPARENT), all(TRACESTATE))
    })?
}

/// Whether a client's id is short and has only safe characters. The server copies it into its answer and its log.
fn is_usable(id: &HeaderValue) -> bool {
    let is_safe = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.:/+=@".contains(byte);
    (1..=MAX_ID_BYTES).contains(&id.len()) && id.as_bytes().iter().all(is_safe)
}

impl Observer {
    fn count(&self, method: &Method, route: &MatchedPath, status: StatusCode, start: Instant) {
        let labels =
            RequestLabels { method: method.to_string(), route: route.as_str().to_owned(), status: status.as_u16() };
        self.service.metrics().requests.get_or_create(&labels).observe(start.elapsed().as_secs_f64());
    }
}

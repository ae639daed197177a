//! The outermost layer: a request's id, its log span and its metrics.
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
    http::{HeaderName, HeaderValue, Method, StatusCode},
    middleware::Next,
    response::{IntoResponse, Response},
};
use tower_http::request_id::RequestId;
use tracing::Instrument;

use super::{host::InvalidHost, problem};
use crate::{metrics::RequestLabels, service::Service};

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
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
    // The query string and the headers may contain secrets, so the log has only method and path.
    let shown = id.header_value().to_str().ok();
    let span = tracing::info_span!("request", method = %request.method(), path = request.uri().path(), id = shown);
    let (method, route) = (request.method().clone(), request.extensions().get::<MatchedPath>().cloned());
    request.extensions_mut().insert(id.clone());
    let invalid_host = request.extensions_mut().remove::<InvalidHost>();
    let response = async {
        let response = match invalid_host {
            Some(invalid) => invalid.into_response(),
            None => next.run(request).await,
        };
        problem::render(response, &id)
    };
    let mut response = response.instrument(span).await;
    if let Some(route) = route.filter(|_| response.status() != StatusCode::METHOD_NOT_ALLOWED) {
        observer.count(&method, &route, response.status(), start);
    }
    response.headers_mut().insert(REQUEST_ID, id.into_header_value());
    response
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

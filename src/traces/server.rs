//! The span of one request.
//!
//! Owns the names and the values of its attributes, after the [semantic conventions for
//! HTTP](https://opentelemetry.io/docs/specs/semconv/http/http-spans/). Like the log, it has no headers, no query string and no body.
//! It is the span `request` of the log, so that a step of a request finds it in every task; what only the log needs is removed
//! before the export.

use std::sync::atomic::{AtomicBool, Ordering};

use opentelemetry::{
    Context, KeyValue,
    trace::{SpanContext, SpanKind, Status, TraceContextExt},
};
use opentelemetry_sdk::trace::SpanData;
use tracing::{Span, field::display};
use tracing_opentelemetry::OpenTelemetrySpanExt;

/// Whether this process exports spans. Not asked of the subscriber by `enabled!`: with a filter for each layer, its answer for one span
/// would stay for the next one.
pub(super) static IS_ON: AtomicBool = AtomicBool::new(false);
/// The fields of the log's span.
const LOG_FIELDS: [&str; 4] = ["method", "path", "id", "trace_id"];
const METHOD: &str = "http.request.method";
/// Methods with this name are all others, because a client may invent any number of them.
const OTHER_METHOD: &str = "_OTHER";
const METHODS: [&str; 9] = ["CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "TRACE"];

/// What is known of a request before it is answered.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Head<'a> {
    pub(crate) method: &'a str,
    /// The template of its route, without ids.
    pub(crate) route: Option<&'a str>,
    /// The path, which has ids but no secrets.
    pub(crate) path: &'a str,
    /// The request's id.
    pub(crate) id: Option<&'a str>,
}

/// What is known of its answer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// The code of the error, if it is one.
    pub(crate) code: Option<&'static str>,
}

/// The exported side of a request's span. Nothing without a collector.
#[derive(Debug)]
pub(crate) struct ServerSpan(Option<Exported>);

#[derive(Debug)]
struct Exported {
    context: Context,
    /// The span would end with its last clone.
    _span: Span,
}

impl ServerSpan {
    /// Makes the span of a request a child of the client's span, and describes the request. If the client has sent no context, puts
    /// the id of the new trace into the field `trace_id`.
    pub(crate) fn begin(span: &Span, parent: Option<SpanContext>, head: Head<'_>) -> Self {
        if !IS_ON.load(Ordering::Relaxed) {
            return Self(None);
        }
        let is_root = parent.is_none();
        if let Some(parent) = parent {
            let _ = span.set_parent(Context::new().with_remote_span_context(parent));
        }
        let context = span.context();
        if is_root {
            span.record("trace_id", display(context.span().span_context().trace_id()));
        }
        describe(&context, head);
        Self(Some(Exported { context, _span: span.clone() }))
    }

    /// Ends the span. Steps that go on after the answer are still its children.
    pub(crate) fn end(self, answer: Answer) {
        let Some(exported) = self.0 else { return };
        let span = exported.context.span();
        span.set_attribute(KeyValue::new("http.response.status_code", i64::from(answer.status)));
        if let Some(code) = answer.code {
            span.set_attribute(KeyValue::new("error.type", code));
        }
        if answer.status >= 500 {
            span.set_status(Status::error(""));
            if answer.code.is_none() {
                span.set_attribute(KeyValue::new("error.type", answer.status.to_string()));
            }
        }
        span.end();
    }
}

fn describe(context: &Context, head: Head<'_>) {
    let span = context.span();
    if !span.is_recording() {
        return;
    }
    let method = METHODS.into_iter().find(|known| *known == head.method);
    let named = method.unwrap_or("HTTP");
    span.update_name(head.route.map_or_else(|| named.to_owned(), |route| format!("{named} {route}")));
    span.set_attribute(KeyValue::new(METHOD, method.unwrap_or(OTHER_METHOD)));
    span.set_attribute(KeyValue::new("url.path", head.path.to_owned()));
    span.set_attribute(KeyValue::new("url.scheme", "http"));
    if let Some(route) = head.route {
        span.set_attribute(KeyValue::new("http.route", route.to_owned()));
    }
    if let Some(id) = head.id {
        span.set_attribute(KeyValue::new("partway.request_id", id.to_owned()));
    }
}

/// If this is the span of a request, removes the fields of the log. Sets its kind, which a field of the log would else have to name.
pub(super) fn finish(span: &mut SpanData) {
    if span.attributes.iter().any(|attribute| attribute.key.as_str() == METHOD) {
        span.span_kind = SpanKind::Server;
        span.attributes.retain(|attribute| !LOG_FIELDS.contains(&attribute.key.as_str()));
    }
}

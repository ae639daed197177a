//! `GET` and `POST /graphql`.
//!
//! Owns the way of a request: who asks, what is asked, is it small enough, execute, answer.

use std::{io, sync::Arc};

use async_graphql::{Response, ServerError};
use axum::{
    Router,
    extract::{Request, State},
    http::{HeaderValue, Method, header},
    response::IntoResponse,
    routing::get,
};
use futures_util::StreamExt;
use serde::Serialize;
use tower_http::request_id::RequestId;

use super::{
    GraphqlSettings,
    documents::Documents,
    endpoint::{Answer, Endpoint},
    errors,
    negotiation::{MediaType, is_request_error},
    request, sse, websocket,
};
use crate::{
    error::{Code, Error, Result},
    http,
    service::Service,
};

/// The GraphQL routes.
pub fn router(service: Arc<Service>, settings: GraphqlSettings, documents: Documents) -> Router {
    let endpoint = Endpoint::new(service, settings, documents);
    let sockets = websocket::Sockets::new(endpoint.clone());
    Router::new()
        .route("/graphql", get(execute).post(execute))
        .with_state(endpoint)
        .merge(Router::new().route("/graphql/ws", get(websocket::upgrade)).with_state(sockets))
}

async fn execute(State(endpoint): State<Endpoint>, request: Request) -> axum::response::Response {
    let id = request.extensions().get::<RequestId>().cloned();
    let media_type = MediaType::accepted(request.headers());
    let (mut head, answer) = match run(&endpoint, request, media_type).await {
        Ok(Kind::Whole(answer)) => (media_type.head(&answer.response), answer),
        Ok(Kind::Events(events)) => return events,
        Err(error) => (refusal(error.code(), media_type), errors::refused(&error).into()),
    };
    let response = errors::finished(answer.response, id.as_ref());
    let max_bytes = endpoint.limit().max_bytes();
    let written = if answer.is_long {
        let written = tokio::task::spawn_blocking(move || write(response, max_bytes)).await;
        written.unwrap_or_else(|failed| Err(io::Error::other(failed)))
    } else {
        write(response, max_bytes)
    };
    let body = written.unwrap_or_else(|_| {
        let response = errors::finished(errors::refused(&endpoint.limit().exceeded()), id.as_ref());
        head = media_type.head(&response);
        write(response, usize::MAX).unwrap_or_default()
    });
    *head.body_mut() = body.into();
    head
}

/// Status and headers of a request that is refused before its execution.
fn refusal(code: Code, media_type: MediaType) -> axum::response::Response {
    let mut head = http::error_head(code);
    head.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(media_type.content_type()));
    if code == Code::MethodNotAllowed {
        head.headers_mut().insert(header::ALLOW, HeaderValue::from_static("POST"));
    }
    head
}

/// An answer's JSON. Serialised as it is: a detour through `serde_json::Value` would lose the order of the query's fields.
///
/// # Errors
/// It would have more than `max_bytes`.
fn write(response: Response, max_bytes: usize) -> io::Result<Vec<u8>> {
    let mut body = Bounded { bytes: Vec::new(), max_bytes };
    if is_request_error(&response) {
        serde_json::to_writer(&mut body, &RequestError { errors: &response.errors })?;
    } else {
        serde_json::to_writer(&mut body, &response)?;
    }
    Ok(body.bytes)
}

/// Bytes, up to so many.
struct Bounded {
    bytes: Vec<u8>,
    max_bytes: usize,
}

impl io::Write for Bounded {
    fn write(&mut self, more: &[u8]) -> io::Result<usize> {
        if self.bytes.len() + more.len() > self.max_bytes {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        self.bytes.extend_from_slice(more);
        Ok(more.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The answer to a request that was not executed: it has no `data`, not even null.
#[derive(Serialize)]
struct RequestError<'a> {
    errors: &'a [ServerError],
}

enum Kind {
    Whole(Answer),
    Events(axum::response::Response),
}

async fn run(endpoint: &Endpoint, request: Request, media_type: MediaType) -> Result<Kind> {
    let token = http::bearer_token(request.headers())?.to_owned();
    let principal = endpoint.service.authenticate(&token).await?;
    let (method, id) = (request.method().clone(), request.extensions().get::<RequestId>().cloned());
    let mut request = match request::read(request, &endpoint.documents).await {
        Ok(request) => request,
        // Told as the answer to a request that could be read: clients look for it there.
        Err(error) if error.code() == Code::PersistedQueryNotFound => {
            return Ok(Kind::Whole(errors::refused(&error).into()));
        }
        Err(error) => return Err(error),
    };
    if method != Method::POST && !request::selects_query(&mut request) {
        return Err(Error::method_not_allowed("only queries can be sent by GET"));
    }
    if media_type == MediaType::EventStream {
        let responses = endpoint.execute_stream(principal, request);
        let responses = responses.map(move |response| errors::finished(response, id.as_ref()));
        let (stopping, token_ends) = (endpoint.service.stopping().clone(), endpoint.token_ends(token));
        return Ok(Kind::Events(sse::events(responses, stopping, token_ends).into_response()));
    }
    Ok(Kind::Whole(endpoint.execute(principal, request).await))
}

//! `GET` and `POST /graphql`.
//!
//! Owns methods, statuses and headers. Does not own the steps of a request: those are in `execute.rs`.

use std::{io, sync::Arc};

use async_graphql::Response;
use axum::{
    Router,
    extract::{Request, State},
    http::{HeaderValue, Method, header},
    response::IntoResponse,
    routing::get,
};
use tower_http::request_id::RequestId;

use super::{
    GraphqlSettings,
    errors::error_response,
    execute::{Allowed, Answer, Executor},
    negotiation::MediaType,
    persisted_documents::PersistedDocuments,
    request,
    response::{finish, write},
    sse, websocket,
};
use crate::{
    error::{Code, Error, Result},
    http::{self, PublicUrl, Shutdown},
    service::Service,
};

/// The GraphQL routes.
pub(crate) fn router(
    service: Arc<Service>,
    shutdown: Shutdown,
    settings: GraphqlSettings,
    persisted: PersistedDocuments,
    public_url: &PublicUrl,
) -> Router {
    let executor = Arc::new(Executor::new(service, shutdown, settings, persisted, public_url));
    let sockets = websocket::Sockets::new(Arc::clone(&executor));
    Router::new()
        .route("/graphql", get(handle).post(handle))
        .with_state(executor)
        .merge(Router::new().route("/graphql/ws", get(websocket::upgrade)).with_state(sockets))
}

async fn handle(State(executor): State<Arc<Executor>>, request: Request) -> axum::response::Response {
    let id = request.extensions().get::<RequestId>().cloned();
    let media_type = MediaType::accepted(request.headers());
    // On the heap: async-graphql's futures have kilobytes, and axum moves the future of a handler several times.
    let answered = Box::pin(answer(&executor, request, media_type, id.as_ref())).await;
    answered.unwrap_or_else(|error| refusal(&error, media_type, id.as_ref()))
}

/// Runs the steps of the [`Executor`] for a request.
async fn answer(
    executor: &Arc<Executor>,
    request: Request,
    media_type: MediaType,
    id: Option<&RequestId>,
) -> Result<axum::response::Response> {
    let token = http::bearer_token(request.headers())?.to_owned();
    let principal = executor.authenticate(&token).await?;
    let allowed = if request.method() == Method::POST { Allowed::All } else { Allowed::Queries };
    let request = executor.resolve(request::read(request).await?, allowed)?;
    if media_type == MediaType::EventStream {
        let responses = executor.execute_stream(principal, request, id.cloned());
        let token_end = http::token_end(Arc::clone(&executor.service), token);
        return Ok(sse::events(responses, executor.shutdown.stopping().clone(), token_end).into_response());
    }
    let answer = executor.execute(principal, request, id).await;
    let head = media_type.head(&answer.response);
    Ok(match serialize(answer, executor.limit().max_bytes()).await {
        Ok(body) => with_body(head, body),
        Err(_) => short_answer(&finish(error_response(&executor.limit().exceeded()), id), media_type),
    })
}

/// Serializes an answer. Does that for a long one on a thread for blocking work, so that other requests do not wait.
async fn serialize(answer: Answer, max_bytes: usize) -> io::Result<Vec<u8>> {
    if !answer.is_long {
        return write(&answer.response, max_bytes);
    }
    let written = tokio::task::spawn_blocking(move || write(&answer.response, max_bytes)).await;
    written.unwrap_or_else(|failed| Err(io::Error::other(failed)))
}

/// The answer to a request that the server refuses before its execution.
fn refusal(error: &Error, media_type: MediaType, id: Option<&RequestId>) -> axum::response::Response {
    let response = finish(error_response(error), id);
    // Apollo's clients expect this code with the usual status: they send the request again, with the document.
    if error.code() == Code::PersistedQueryNotFound {
        return short_answer(&response, media_type);
    }
    let mut head = http::error_head(error.code());
    head.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(media_type.content_type()));
    if error.code() == Code::MethodNotAllowed {
        head.headers_mut().insert(header::ALLOW, HeaderValue::from_static("POST"));
    }
    with_body(head, write(&response, usize::MAX).unwrap_or_default())
}

/// The HTTP answer for a short GraphQL response.
fn short_answer(response: &Response, media_type: MediaType) -> axum::response::Response {
    with_body(media_type.head(response), write(response, usize::MAX).unwrap_or_default())
}

fn with_body(head: axum::response::Response, body: Vec<u8>) -> axum::response::Response {
    head.map(|_| body.into())
}

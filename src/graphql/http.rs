//! `GET` and `POST /graphql`.
//!
//! Owns the way of a request: who asks, what is asked, is it small enough, execute, answer.

use std::sync::Arc;

use async_graphql::{Response, ServerError};
use async_graphql_axum::GraphQLResponse;
use axum::{
    Router,
    extract::{Request, State},
    http::{HeaderValue, Method, StatusCode, header},
    response::IntoResponse,
    routing::get,
};
use futures_util::StreamExt;
use serde::Serialize;
use tower_http::request_id::RequestId;

use super::{
    documents::Documents,
    endpoint::Endpoint,
    errors,
    negotiation::{MediaType, is_request_error},
    request::{self, Refusal},
    sse, websocket,
};
use crate::{
    auth,
    config::GraphqlSettings,
    error::{Code, Error},
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
    let (status, response) = match run(&endpoint, request, media_type).await {
        Ok(Answer::Whole(response)) => (media_type.status(&response), response),
        Ok(Answer::Events(events)) => return events,
        Err(refusal) => (refusal.status, errors::refused(&refusal.error)),
    };
    let response = errors::finished(response, id.as_ref());
    // Serialised as it is: a detour through `serde_json::Value` would lose the order of the query's fields.
    let mut answer = if is_request_error(&response) {
        axum::Json(RequestError { errors: &response.errors }).into_response()
    } else {
        GraphQLResponse::from(response).into_response()
    };
    *answer.status_mut() = status;
    let headers = answer.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(media_type.content_type()));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    match status {
        StatusCode::UNAUTHORIZED => headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static(auth::CHALLENGE)),
        StatusCode::METHOD_NOT_ALLOWED => headers.insert(header::ALLOW, HeaderValue::from_static("POST")),
        _ => None,
    };
    answer
}

/// The answer to a request that was not executed: it has no `data`, not even null.
#[derive(Serialize)]
struct RequestError<'a> {
    errors: &'a [ServerError],
}

enum Answer {
    Whole(Response),
    Events(axum::response::Response),
}

async fn run(endpoint: &Endpoint, request: Request, media_type: MediaType) -> Result<Answer, Refusal> {
    let token = auth::bearer_token(request.headers())?.to_owned();
    let principal = endpoint.service.authenticate(&token).await?;
    let (method, id) = (request.method().clone(), request.extensions().get::<RequestId>().cloned());
    let mut request = match request::read(request, &endpoint.documents).await {
        Ok(request) => request,
        // Told as the answer to a request that could be read: clients look for it there.
        Err(refusal) if refusal.error.code() == Code::PersistedQueryNotFound => {
            return Ok(Answer::Whole(errors::refused(&refusal.error)));
        }
        Err(refusal) => return Err(refusal),
    };
    if method != Method::POST && !request::selects_query(&mut request) {
        let error = Error::malformed("only queries can be sent by GET");
        return Err(Refusal { status: StatusCode::METHOD_NOT_ALLOWED, error });
    }
    if media_type == MediaType::EventStream {
        let responses = endpoint.execute_stream(principal, request);
        let responses = responses.map(move |response| errors::finished(response, id.as_ref()));
        let (stopping, token_ends) = (endpoint.service.stopping().clone(), endpoint.token_ends(token));
        return Ok(Answer::Events(sse::events(responses, stopping, token_ends).into_response()));
    }
    Ok(Answer::Whole(endpoint.execute(principal, request).await))
}

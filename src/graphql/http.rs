//! `GET` and `POST /graphql`.
//!
//! Owns the way of a request: who asks, what is asked, is it small enough, execute, answer.

use std::sync::Arc;

use async_graphql::{Response, ServerError};
use async_graphql_axum::GraphQLResponse;
use axum::{
    Router,
    extract::{DefaultBodyLimit, Request, State},
    http::{HeaderValue, Method, StatusCode, header},
    response::IntoResponse,
    routing::get,
};
use serde::Serialize;
use tower_http::request_id::RequestId;

use super::{
    Schema, errors, limits,
    loaders::Loaders,
    negotiation::{MediaType, is_request_error},
    request::{self, MAX_REQUEST_BYTES, Refusal},
};
use crate::{auth, config::GraphqlSettings, error::Error, service::Service};

#[derive(Clone)]
struct Endpoint {
    service: Arc<Service>,
    schema: Schema,
    settings: GraphqlSettings,
}

/// The GraphQL route.
pub fn router(service: Arc<Service>, settings: GraphqlSettings) -> Router {
    let schema = super::schema(Arc::clone(&service), &settings);
    Router::new()
        .route("/graphql", get(execute).post(execute))
        .layer(DefaultBodyLimit::max(MAX_REQUEST_BYTES))
        .with_state(Endpoint { service, schema, settings })
}

async fn execute(State(endpoint): State<Endpoint>, request: Request) -> axum::response::Response {
    let id = request.extensions().get::<RequestId>().cloned();
    let media_type = MediaType::accepted(request.headers());
    let (status, response) = match run(&endpoint, request).await {
        Ok(response) => (media_type.status(&response), response),
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

async fn run(endpoint: &Endpoint, request: Request) -> Result<Response, Refusal> {
    let Endpoint { service, schema, settings } = endpoint;
    let principal = auth::authenticate(service, request.headers()).await?;
    let method = request.method().clone();
    let mut request = request::read(request).await?;
    if request.query.len() as u64 > settings.max_document_bytes {
        return Err(Error::too_large("a GraphQL document", settings.max_document_bytes).into());
    }
    let operation_name = request.operation_name.clone();
    // What cannot be parsed is told by the execution.
    if let Ok(document) = request.parsed_query() {
        if method == Method::GET && !request::selects_query(document, operation_name.as_deref()) {
            let error = Error::malformed("only queries can be sent by GET");
            return Err(Refusal { status: StatusCode::METHOD_NOT_ALLOWED, error });
        }
        if let Err(error) = limits::check(document, settings) {
            return Ok(errors::refused(&error));
        }
    }
    let loaders = Loaders::new(Arc::clone(service), principal.clone());
    let execution = schema.execute(request.data(principal).data(loaders));
    let too_slow = |_| Error::too_slow(settings.timeout);
    Ok(tokio::time::timeout(settings.timeout, execution).await.map_err(too_slow)?)
}

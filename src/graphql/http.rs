//! `POST /graphql`.
//!
//! Owns reading a request and writing a response. JSON alone is taken: a form that a foreign page could send is not.

use std::sync::Arc;

use async_graphql::Response;
use async_graphql_axum::GraphQLResponse;
use axum::{
    Router,
    body::Bytes,
    extract::{DefaultBodyLimit, FromRequest, Request, State},
    http::{HeaderMap, StatusCode, header},
    response::IntoResponse,
    routing::post,
};
use tower_http::request_id::RequestId;

use super::{Schema, errors, limits, loaders::Loaders};
use crate::{
    auth,
    error::{Error, Result},
    service::Service,
};

/// Largest request: document and variables together.
const MAX_REQUEST_BYTES: usize = 256 * 1024;

/// The GraphQL route.
pub fn router(service: Arc<Service>) -> Router {
    let schema = super::schema(Arc::clone(&service));
    Router::new()
        .route("/graphql", post(execute))
        .layer(DefaultBodyLimit::max(MAX_REQUEST_BYTES))
        .with_state((service, schema))
}

async fn execute(State((service, schema)): State<(Arc<Service>, Schema)>, request: Request) -> impl IntoResponse {
    let id = request.extensions().get::<RequestId>().cloned();
    let (status, response) = match run(&service, &schema, request).await {
        Ok(response) => (StatusCode::OK, response),
        Err(error) => (status(&error), errors::refused(&error)),
    };
    let mut headers = HeaderMap::new();
    if status == StatusCode::UNAUTHORIZED {
        headers.insert(header::WWW_AUTHENTICATE, header::HeaderValue::from_static(auth::CHALLENGE));
    }
    (status, headers, GraphQLResponse::from(errors::finished(response, id.as_ref())))
}

async fn run(service: &Arc<Service>, schema: &Schema, request: Request) -> Result<Response> {
    let principal = auth::authenticate(service, request.headers()).await?;
    let mut request = read(request).await?;
    if let Ok(document) = request.parsed_query() {
        // What cannot be parsed is told by the execution.
        limits::check(document)?;
    }
    let loaders = Loaders::new(Arc::clone(service), principal.clone());
    Ok(schema.execute(request.data(principal).data(loaders)).await)
}

async fn read(request: Request) -> Result<async_graphql::Request> {
    let content_type = request.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let mime = content_type.and_then(|value| value.parse::<mime::Mime>().ok());
    if mime.is_none_or(|mime| mime.essence_str() != "application/json") {
        return Err(Error::malformed("the body must be JSON, with Content-Type: application/json"));
    }
    let body = Bytes::from_request(request, &()).await.map_err(|refused| match refused.status() {
        StatusCode::PAYLOAD_TOO_LARGE => Error::too_large("a GraphQL request", MAX_REQUEST_BYTES as u64),
        _ => Error::malformed("the body ended early"),
    })?;
    let malformed = |problem| Error::malformed(format!("the body is no GraphQL request: {problem}"));
    serde_json::from_slice(&body).map_err(malformed)
}

fn status(error: &Error) -> StatusCode {
    StatusCode::from_u16(error.code().http_status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
}

//! Reading a request ([GraphQL over HTTP](https://graphql.github.io/graphql-over-http/draft/), June 2025 draft).
//!
//! Owns what a `GET` and a `POST` must look like. Refuses batches, forms, and mutations by `GET`: each is a door for
//! requests that a foreign page makes a browser send.

use async_graphql::{
    Request, Variables,
    parser::types::{DocumentOperations, ExecutableDocument, OperationDefinition, OperationType},
};
use axum::{
    extract::Query,
    http::{Method, StatusCode, header},
};
use serde::Deserialize;
use serde_json::{Map, Value};

use super::{documents::Documents, nesting};
use crate::{
    error::{Error, Result},
    http,
};

/// Largest request: document and variables together.
pub(super) const MAX_REQUEST_BYTES: usize = 256 * 1024;

/// A request that is not executed, and the HTTP status that says why.
#[derive(Debug)]
pub(super) struct Refusal {
    pub(super) status: StatusCode,
    pub(super) error: Error,
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        let status = StatusCode::from_u16(error.code().http_status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        Self { status, error }
    }
}

/// Reads a request of either method.
pub(super) async fn read(request: axum::extract::Request, documents: &Documents) -> Result<Request, Refusal> {
    match *request.method() {
        Method::POST => read_post(request, documents).await,
        // HEAD comes here too: it is a GET whose answer has no body, and must not do what only a POST may.
        _ => Ok(read_get(&request, documents)?),
    }
}

/// The parameters of a `GET`; `variables` and `extensions` are JSON in text.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct GetParams {
    query: Option<String>,
    operation_name: Option<String>,
    variables: Option<String>,
    extensions: Option<String>,
}

fn read_get(request: &axum::extract::Request, documents: &Documents) -> Result<Request> {
    let Query(params) =
        Query::<GetParams>::try_from_uri(request.uri()).map_err(|problem| Error::malformed(problem.body_text()))?;
    let json = |name: &'static str, text: Option<String>| {
        let value = text.map(|text| serde_json::from_str(&text)).transpose();
        value.map(Option::unwrap_or_default).map_err(|_| Error::invalid(name, "must be JSON"))
    };
    let parameters = Map::from_iter([
        ("query".to_owned(), params.query.map_or(Value::Null, Value::String)),
        ("operationName".to_owned(), params.operation_name.map_or(Value::Null, Value::String)),
        ("variables".to_owned(), json("variables", params.variables)?),
        ("extensions".to_owned(), json("extensions", params.extensions)?),
    ]);
    from_parameters(parameters, documents)
}

async fn read_post(request: axum::extract::Request, documents: &Documents) -> Result<Request, Refusal> {
    let content_type = request.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let mime = content_type.and_then(|value| value.parse::<mime::Mime>().ok());
    if mime.is_none_or(|mime| mime.essence_str() != "application/json") {
        let error = Error::malformed("the body must be JSON, with Content-Type: application/json");
        return Err(Refusal { status: StatusCode::UNSUPPORTED_MEDIA_TYPE, error });
    }
    let body = http::read_whole(request, "a GraphQL request", MAX_REQUEST_BYTES).await?;
    match serde_json::from_slice(&body) {
        Ok(Value::Object(parameters)) => Ok(from_parameters(parameters, documents)?),
        Ok(Value::Array(_)) => Err(Error::malformed("batches are not taken; send one request at a time").into()),
        Ok(_) => Err(Error::malformed("the body must be a JSON object").into()),
        Err(problem) => Err(Error::malformed(format!("the body is no JSON: {problem}")).into()),
    }
}

pub(super) fn from_parameters(mut parameters: Map<String, Value>, documents: &Documents) -> Result<Request> {
    let mut take = |name: &str| parameters.remove(name).unwrap_or_default();
    let extensions = take("extensions");
    if !matches!(extensions, Value::Object(_) | Value::Null) {
        return Err(Error::invalid("extensions", "must be an object or null"));
    }
    let query = match take("query") {
        Value::String(query) => Some(query),
        Value::Null => None,
        _ => return Err(Error::invalid("query", "must be a string")),
    };
    let query = documents.resolve(query, &extensions)?.ok_or_else(|| Error::invalid("query", "must be a string"))?;
    nesting::check(&query)?;
    let mut request = Request::new(query);
    match take("operationName") {
        Value::String(name) => request.operation_name = Some(name),
        Value::Null => {}
        _ => return Err(Error::invalid("operationName", "must be a string or null")),
    }
    match take("variables") {
        variables @ Value::Object(_) => request.variables = Variables::from_json(variables),
        Value::Null => {}
        _ => return Err(Error::invalid("variables", "must be an object or null")),
    }
    Ok(request)
}

/// Whether the operation that would be executed is a query. What has no such operation is told by the execution.
pub(super) fn selects_query(request: &mut Request) -> bool {
    selected_operation(request).is_none_or(|operation| operation == OperationType::Query)
}

/// The kind of the operation that would be executed, if there is one.
pub(super) fn selected_operation(request: &mut Request) -> Option<OperationType> {
    let name = request.operation_name.clone();
    let document = request.parsed_query().ok()?;
    operation(document, name.as_deref()).map(|operation| operation.ty)
}

/// The operation that would be executed: the one that is named, or the only one.
pub(super) fn operation<'a>(document: &'a ExecutableDocument, name: Option<&str>) -> Option<&'a OperationDefinition> {
    let selected = match (&document.operations, name) {
        (DocumentOperations::Single(operation), None) => Some(operation),
        (DocumentOperations::Multiple(operations), Some(name)) => operations.get(name),
        (DocumentOperations::Multiple(operations), None) if operations.len() == 1 => operations.values().next(),
        _ => None,
    };
    selected.map(|operation| &operation.node)
}

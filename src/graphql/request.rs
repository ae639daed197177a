//! Reading a request ([GraphQL over HTTP](https://graphql.github.io/graphql-over-http/draft/), June 2025 draft).
//!
//! Owns what a `GET` and a `POST` must look like. Refuses batches, forms, and mutations by `GET`: each is a door for
//! requests that a foreign page makes a browser send.

use async_graphql::{
    Request,
    parser::types::{DocumentOperations, ExecutableDocument, OperationDefinition, OperationType},
};
use axum::{extract::Query, http::Method};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::{documents::Documents, literals, nesting, variables};
use crate::{
    error::{Error, Result},
    http,
};

/// Largest request: document and variables together.
pub(super) const MAX_REQUEST_BYTES: usize = 256 * 1024;

/// Reads a request of either method.
pub(super) async fn read(request: axum::extract::Request, documents: &Documents) -> Result<Request> {
    match *request.method() {
        Method::POST => read_post(request, documents).await,
        // HEAD comes here too: it is a GET whose answer has no body, and must not do what only a POST may.
        _ => read_get(&request, documents),
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
        let value = text.map(RawValue::from_string).transpose().map_err(|_| Error::invalid(name, "must be JSON"))?;
        Ok::<_, Error>(value.filter(|value| value.get() != "null"))
    };
    Parameters {
        query: params.query,
        operation_name: params.operation_name,
        variables: json("variables", params.variables)?,
        extensions: json("extensions", params.extensions)?,
    }
    .into_request(documents)
}

async fn read_post(request: axum::extract::Request, documents: &Documents) -> Result<Request> {
    let body = http::read_json(request, "a GraphQL request", MAX_REQUEST_BYTES).await?;
    if body.trim_ascii_start().starts_with(b"[") {
        return Err(Error::malformed("batches are not taken; send one request at a time"));
    }
    Parameters::read(&body)?.into_request(documents)
}

/// The parameters of a request, `variables` and `extensions` as the text that came: nothing of them is read before it is
/// known how.
pub(super) struct Parameters {
    query: Option<String>,
    operation_name: Option<String>,
    variables: Option<Box<RawValue>>,
    extensions: Option<Box<RawValue>>,
}

/// A JSON object of parameters.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct JsonParameters {
    query: Option<Box<RawValue>>,
    operation_name: Option<Box<RawValue>>,
    variables: Option<Box<RawValue>>,
    extensions: Option<Box<RawValue>>,
}

impl Parameters {
    /// Reads a JSON object of parameters. Those that have no meaning are passed over.
    pub(super) fn read(json: &[u8]) -> Result<Self> {
        let read: JsonParameters = http::parse_object(json)?;
        let string = |json: Option<Box<RawValue>>| json.map(|json| serde_json::from_str(json.get())).transpose();
        Ok(Self {
            query: string(read.query).map_err(|_| Error::invalid("query", "must be a string"))?,
            operation_name: string(read.operation_name)
                .map_err(|_| Error::invalid("operationName", "must be a string or null"))?,
            variables: read.variables,
            extensions: read.extensions,
        })
    }

    /// Whether there is a document, or what may stand for one.
    pub(super) fn is_request(&self) -> bool {
        self.query.is_some() || self.extensions.is_some()
    }

    pub(super) fn into_request(self, documents: &Documents) -> Result<Request> {
        let query = documents.resolve(self.query, self.extensions.as_deref())?;
        let query = query.ok_or_else(|| Error::invalid("query", "must be a string"))?;
        nesting::check(&query)?;
        literals::check(&query)?;
        let mut request = Request::new(query);
        request.operation_name = self.operation_name;
        if let Some(variables) = &self.variables {
            request.variables = variables::read(variables)?;
        }
        Ok(request)
    }
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

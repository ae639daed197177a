//! Parsing a request ([GraphQL over HTTP](https://graphql.github.io/graphql-over-http/draft/), June 2025 draft).
//!
//! Owns the parameters of a `GET` and a `POST`. Refuses batches and forms: a page of another origin can make a browser send a
//! form.

use async_graphql::Request;
use axum::{extract::Query, http::Method};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::{persisted_documents::PersistedDocuments, variables};
use crate::{
    error::{Error, Result},
    http,
};

/// Largest request in bytes: document, variables and extensions together.
pub(super) const MAX_REQUEST_BYTES: usize = 256 * 1024;

/// Reads a request of either method.
pub(super) async fn read(request: axum::extract::Request) -> Result<Parameters> {
    match *request.method() {
        Method::POST => read_post(request).await,
        // A HEAD is a GET whose answer has no body, so it must not execute a mutation either.
        _ => read_get(&request),
    }
}

/// The parameters of a `GET`. `variables` and `extensions` are JSON as text.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct GetParams {
    query: Option<String>,
    operation_name: Option<String>,
    variables: Option<String>,
    extensions: Option<String>,
}

fn read_get(request: &axum::extract::Request) -> Result<Parameters> {
    let Query(params) =
        Query::<GetParams>::try_from_uri(request.uri()).map_err(|problem| Error::malformed(problem.body_text()))?;
    let json = |name: &'static str, text: Option<String>| {
        let value = text.map(RawValue::from_string).transpose().map_err(|_| Error::invalid(name, "must be JSON"))?;
        Ok::<_, Error>(value.filter(|value| value.get() != "null"))
    };
    Ok(Parameters {
        query: params.query,
        operation_name: params.operation_name,
        variables: json("variables", params.variables)?,
        extensions: json("extensions", params.extensions)?,
    })
}

async fn read_post(request: axum::extract::Request) -> Result<Parameters> {
    let body = http::read_json(request, "a GraphQL request", MAX_REQUEST_BYTES).await?;
    if body.trim_ascii_start().starts_with(b"[") {
        return Err(Error::malformed("the server does not support batches; send one operation per request"));
    }
    Parameters::read(&body)
}

/// The parameters of a request. `variables` and `extensions` stay text: a generic parser would lose digits and duplicate keys.
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
    /// Parses a JSON object of parameters. Ignores unknown ones.
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

    /// Whether there is a document, or `extensions` that may have the hash of one.
    pub(super) fn is_request(&self) -> bool {
        self.query.is_some() || self.extensions.is_some()
    }

    /// The request, with its document resolved. The document is not checked.
    pub(super) fn into_request(self, documents: &PersistedDocuments) -> Result<Request> {
        let query = documents.resolve(self.query, self.extensions.as_deref())?;
        let query = query.ok_or_else(|| Error::invalid("query", "must be a string"))?;
        let mut request = Request::new(query);
        request.operation_name = self.operation_name;
        if let Some(variables) = &self.variables {
            request.variables = variables::read(variables)?;
        }
        Ok(request)
    }
}

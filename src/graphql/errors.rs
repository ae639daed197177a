//! The one error type as GraphQL shows it: the same code and details, in `extensions`.

use std::sync::Arc;

use async_graphql::{ErrorExtensionValues, Response, ServerError, Value};
use tower_http::request_id::RequestId;

use crate::error::{Code, Error};

const MAX_MESSAGE_CHARS: usize = 300;

/// An error on its way out of a resolver. Deliberately not `Display`: async-graphql would turn that into an answer
/// without a code, and `?` would send a database's words to the caller.
#[derive(Debug)]
pub(super) struct ApiError(Arc<Error>);

impl From<Error> for ApiError {
    fn from(error: Error) -> Self {
        Self(Arc::new(error))
    }
}

/// Loaders share one error among all who waited for the batch.
impl From<Arc<Error>> for ApiError {
    fn from(error: Arc<Error>) -> Self {
        Self(error)
    }
}

impl From<ApiError> for async_graphql::Error {
    fn from(ApiError(error): ApiError) -> Self {
        error.log();
        Self { message: error.message().to_owned(), source: None, extensions: Some(extensions(&error)) }
    }
}

fn extensions(error: &Error) -> ErrorExtensionValues {
    let mut extensions = ErrorExtensionValues::default();
    extensions.set("code", error.code().as_str());
    extensions.set("retryable", error.code().is_retryable());
    if !error.details().is_empty() {
        let details = Value::from_json(serde_json::Value::Object(error.details().clone()));
        extensions.set("details", details.unwrap_or_default());
    }
    extensions
}

/// The answer to a request that was not executed.
pub(super) fn refused(error: &Error) -> Response {
    error.log();
    let mut refusal = ServerError::new(error.message(), None);
    refusal.extensions = Some(extensions(error));
    Response::from_errors(vec![refusal])
}

/// Gives every error a code, and names the request in internal ones, so that their cause can be found in the log.
/// Errors of ours have a code; those without are async-graphql's words about the request itself.
pub(super) fn finished(mut response: Response, id: Option<&RequestId>) -> Response {
    let id = id.and_then(|id| id.header_value().to_str().ok());
    let internal = Value::from(Code::Internal.as_str());
    for error in &mut response.errors {
        // Of a syntax error async-graphql quotes the whole line.
        if let Some((end, _)) = error.message.char_indices().nth(MAX_MESSAGE_CHARS) {
            error.message.truncate(end);
        }
        let extensions = error.extensions.get_or_insert_default();
        match extensions.get("code") {
            None => {
                extensions.set("code", Code::InvalidInput.as_str());
                extensions.set("retryable", false);
            }
            Some(code) if *code == internal => extensions.set("requestId", id.unwrap_or_default()),
            Some(_) => {}
        }
    }
    response
}

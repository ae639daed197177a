//! The one error type as GraphQL shows it: the same code and details, in `extensions`.

use std::sync::Arc;

use async_graphql::{ErrorExtensionValues, Response, ServerError, Value};

use crate::error::{Code, Error};

/// An error of a resolver. It is not `Display` on purpose: async-graphql would make an error without a code of it, and `?`
/// would show a database's message to the client.
#[derive(Clone, Debug)]
pub(super) struct ApiError(Arc<Error>);

impl From<Error> for ApiError {
    fn from(error: Error) -> Self {
        Self(Arc::new(error))
    }
}

/// A loader returns one error for all keys of a batch.
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
pub(super) fn error_response(error: &Error) -> Response {
    error.log();
    let mut refusal = ServerError::new(error.message(), None);
    refusal.extensions = Some(extensions(error));
    Response::from_errors(vec![refusal])
}

/// What async-graphql says of a page's arguments, with the code that it lacks. Errors of ours keep theirs.
pub(super) fn invalid_page(mut error: async_graphql::Error) -> async_graphql::Error {
    let extensions = error.extensions.get_or_insert_default();
    if extensions.get("code").is_none() {
        set_invalid(extensions);
    }
    error
}

pub(super) fn set_invalid(extensions: &mut ErrorExtensionValues) {
    extensions.set("code", Code::InvalidInput.as_str());
    extensions.set("retryable", false);
}

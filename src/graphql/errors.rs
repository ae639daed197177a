//! The crate's error as a GraphQL error, with its code and details in `extensions`.

use std::sync::Arc;

use async_graphql::{ErrorExtensionValues, Response, ServerError, Value};

use crate::error::{Code, Error};

/// An error of a resolver. It has no `Display` on purpose: async-graphql converts every `Display` type into an error without
/// a code, and `?` would then show a database's message to the client.
#[derive(Clone, Debug)]
pub(super) struct ApiError(Arc<Error>);

impl ApiError {
    /// Whether a retry may succeed.
    pub(super) fn is_retryable(&self) -> bool {
        self.0.code().is_retryable()
    }
}

impl From<Error> for ApiError {
    fn from(error: Error) -> Self {
        Self(Arc::new(error))
    }
}

/// A loader shares one error between all keys of a batch.
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

/// The response to a request that the server does not execute.
pub(super) fn error_response(error: &Error) -> Response {
    error.log();
    let mut refusal = ServerError::new(error.message(), None);
    refusal.extensions = Some(extensions(error));
    Response::from_errors(vec![refusal])
}

/// Adds a code to async-graphql's errors about a page's arguments, which have none. Our own errors keep theirs.
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

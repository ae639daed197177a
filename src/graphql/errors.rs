//! The one error type as GraphQL shows it: the same code and details, in `extensions`.

use std::sync::Arc;

use async_graphql::{ErrorExtensionValues, Response, ServerError, Value};
use tower_http::request_id::RequestId;

use crate::error::{Code, Error};

/// How async-graphql begins to tell of a value that a scalar does not take, and of a variable that is missing: faults of
/// the request, told with a path.
const REQUEST_FAULTS: [&str; 2] = ["Failed to parse ", "Variable "];
const MAX_MESSAGE_CHARS: usize = 300;
/// As many as a list can have items.
const MAX_ERRORS: usize = 100;

/// An error on its way out of a resolver. Deliberately not `Display`: async-graphql would turn that into an answer
/// without a code, and `?` would send a database's words to the caller.
#[derive(Clone, Debug)]
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

/// What async-graphql says of a page's arguments, with the code that it lacks. Errors of ours keep theirs.
pub(super) fn invalid_page(mut error: async_graphql::Error) -> async_graphql::Error {
    let extensions = error.extensions.get_or_insert_default();
    if extensions.get("code").is_none() {
        set_invalid(extensions);
    }
    error
}

fn set_invalid(extensions: &mut ErrorExtensionValues) {
    extensions.set("code", Code::InvalidInput.as_str());
    extensions.set("retryable", false);
}

/// Gives every error a code, and names the request in internal ones, so that their cause can be found in the log.
/// Errors of ours have a code; those without are async-graphql's words about the request itself.
pub(super) fn finished(mut response: Response, id: Option<&RequestId>) -> Response {
    let id = id.and_then(|id| id.header_value().to_str().ok());
    let internal = Value::from(Code::Internal.as_str());
    response.errors.truncate(MAX_ERRORS);
    for error in &mut response.errors {
        // Of a syntax error async-graphql quotes the whole line.
        if let Some((end, _)) = error.message.char_indices().nth(MAX_MESSAGE_CHARS) {
            error.message.truncate(end);
        }
        let has_code = error.extensions.as_ref().is_some_and(|extensions| extensions.get("code").is_some());
        let is_request_fault = REQUEST_FAULTS.iter().any(|begin| error.message.starts_with(begin));
        if !has_code && !error.path.is_empty() && !is_request_fault {
            // None of ours has no code: something failed that was not foreseen, and its words are not for callers.
            let cause = std::mem::take(&mut error.message);
            let shown = async_graphql::Error::from(ApiError::from(Error::internal(cause)));
            (error.message, error.extensions) = (shown.message, shown.extensions);
        }
        let extensions = error.extensions.get_or_insert_default();
        if extensions.get("code").is_none() {
            set_invalid(extensions);
        }
        if extensions.get("code") == Some(&internal) {
            extensions.set("requestId", id.unwrap_or_default());
        }
    }
    response
}

#[cfg(test)]
mod tests {
    use async_graphql::{PathSegment, Pos};

    use super::*;

    fn finished_error(message: &str, path: Vec<PathSegment>) -> (String, Value) {
        let mut error = ServerError::new(message, Some(Pos::default()));
        error.path = path;
        let error = finished(Response::from_errors(vec![error]), None).errors.remove(0);
        (error.message, error.extensions.unwrap().get("code").unwrap().clone())
    }

    #[test]
    fn an_error_without_a_code_is_the_requests_fault_or_is_not_shown() {
        let path = || vec![PathSegment::Field("file".to_owned())];
        let shown = |message: &str, code: &str| (message.to_owned(), Value::from(code));
        assert_eq!(finished_error("Unknown field", vec![]), shown("Unknown field", "INVALID_INPUT"));
        let scalar = "Failed to parse \"BigInt\": expected a whole number";
        assert_eq!(finished_error(scalar, path()), shown(scalar, "INVALID_INPUT"));
        let missing = "Variable id is not defined.";
        assert_eq!(finished_error(missing, path()), shown(missing, "INVALID_INPUT"));
        let leak = finished_error("no such table: upload_file", path());
        assert_eq!(leak, shown("an internal error occurred", "INTERNAL"));
    }
}

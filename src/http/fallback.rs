//! Answers that do not come from a handler.
//!
//! Owns the answers to an unknown path, an unknown method, a panic in a handler, a request from a page of another origin,
//! and a connection over the limit.

use std::any::Any;

use axum::response::{IntoResponse, Response};

use super::Problem;
use crate::error::Error;

/// The answer to a path that has no route.
pub(crate) async fn no_such_route() -> Problem {
    Problem(Error::not_found("route"))
}

/// The answer to a method that the route does not have. axum adds `Allow`.
pub(crate) async fn no_such_method() -> Problem {
    Problem(Error::method_not_allowed("this route does not have this method"))
}

/// The answer to a request on a connection over the limit.
pub(crate) async fn overloaded() -> Problem {
    Problem(Error::too_many_connections())
}

/// The answer to a browser's request from a page of another origin.
pub(crate) fn foreign_origin() -> Problem {
    Problem(Error::forbidden("requests from this origin are not allowed"))
}

/// The answer when a handler panicked: `INTERNAL`. The log has the panic's message.
pub(crate) fn panicked(panic: Box<dyn Any + Send>) -> Response {
    let text = panic.downcast_ref::<&str>().map(ToString::to_string);
    let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
    Problem(Error::internal(text.unwrap_or_else(|| "a handler panicked".to_owned()))).into_response()
}

//! Answers that belong to no route.
//!
//! Owns what the server answers when no handler can: an unknown path or method, a handler that panicked, a request from a
//! foreign page, too many connections.

use std::any::Any;

use axum::response::{IntoResponse, Response};

use super::Problem;
use crate::error::Error;

/// The answer to a path that has no route.
pub async fn no_such_route() -> Problem {
    Problem(Error::not_found("route"))
}

/// The answer to a method that a route does not take; axum adds `Allow`.
pub async fn no_such_method() -> Problem {
    Problem(Error::method_not_allowed("this route does not take this method"))
}

/// The answer when there are too many connections.
pub async fn overloaded() -> Problem {
    Problem(Error::too_many_connections())
}

/// The answer to a browser's request from a page of another origin.
pub fn foreign_origin() -> Problem {
    Problem(Error::forbidden("requests from this origin are not allowed"))
}

/// The answer when a handler panicked: an internal error like any other.
pub fn panicked(panic: Box<dyn Any + Send>) -> Response {
    let text = panic.downcast_ref::<&str>().map(ToString::to_string);
    let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
    Problem(Error::internal(text.unwrap_or_else(|| "a handler panicked".to_owned()))).into_response()
}

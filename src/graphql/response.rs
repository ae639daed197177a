//! The response of an execution.
//!
//! Owns the codes of errors, the difference between a request error and a field error, and the JSON of a response.

use std::io;

use async_graphql::{Response, ServerError, Value};
use bytes::Bytes;
use serde::Serialize;
use serde_json::ser::{Formatter, Serializer};
use tower_http::request_id::RequestId;

use super::errors::{ApiError, set_invalid};
use crate::error::{Code, Error};

/// The start of async-graphql's messages about an invalid scalar and about a missing variable. The client has caused both,
/// although they have a path like errors of the server.
const REQUEST_FAULTS: [&str; 2] = ["Failed to parse ", "Variable "];
const MAX_MESSAGE_CHARS: usize = 300;
/// Errors in a response: one for each item of the longest page.
const MAX_ERRORS: usize = 100;

/// Whether the request failed before its execution. Such a response has no `data`.
pub(super) fn is_request_error(response: &Response) -> bool {
    !response.errors.is_empty()
        && response.data == Value::Null
        && response.errors.iter().all(|error| error.path.is_empty())
}

/// Sets the code of every error, and the request's id in internal ones, so that operators find the cause in the log. Our own
/// errors have a code. An error without one comes from async-graphql: it is about the request, or it is internal.
pub(super) fn finish(mut response: Response, id: Option<&RequestId>) -> Response {
    let id = id.and_then(|id| id.header_value().to_str().ok());
    let internal = Value::from(Code::Internal.as_str());
    response.errors.truncate(MAX_ERRORS);
    for error in &mut response.errors {
        // In a syntax error, async-graphql quotes the whole line.
        if let Some((end, _)) = error.message.char_indices().nth(MAX_MESSAGE_CHARS) {
            error.message.truncate(end);
        }
        let has_code = error.extensions.as_ref().is_some_and(|extensions| extensions.get("code").is_some());
        let is_request_fault = REQUEST_FAULTS.iter().any(|begin| error.message.starts_with(begin));
        if !has_code && !error.path.is_empty() && !is_request_fault {
            // This error is unexpected, and clients must not see its message.
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

/// A value that a resolver has encoded as JSON. [`write()`] and [`to_json`] copy it as it is.
pub(super) fn encoded(json: Bytes) -> Value {
    Value::Binary(json)
}

/// Writes JSON without spaces, and binary values as they are: only [`encoded`] makes them.
struct EncodedFormatter;

impl Formatter for EncodedFormatter {
    fn write_byte_array<W: ?Sized + io::Write>(&mut self, writer: &mut W, json: &[u8]) -> io::Result<()> {
        writer.write_all(json)
    }
}

/// Serializes a response, or a message that contains one.
pub(super) fn to_json(value: &impl Serialize) -> String {
    let mut json = Vec::new();
    let written = value.serialize(&mut Serializer::with_formatter(&mut json, EncodedFormatter));
    written.ok().and_then(|()| String::from_utf8(json).ok()).unwrap_or_default()
}

/// Serializes a response. A detour through `serde_json::Value` would lose the order of the fields.
///
/// # Errors
/// If the JSON has more than `max_bytes`.
pub(super) fn write(response: &Response, max_bytes: usize) -> io::Result<Vec<u8>> {
    if is_request_error(response) {
        write_value(&RequestError { errors: &response.errors }, max_bytes)
    } else {
        write_value(response, max_bytes)
    }
}

/// Serializes a value.
///
/// # Errors
/// If the JSON has more than `max_bytes`.
pub(super) fn write_value(value: &impl Serialize, max_bytes: usize) -> io::Result<Vec<u8>> {
    let mut json = Bounded { bytes: Vec::new(), max_bytes };
    value.serialize(&mut Serializer::with_formatter(&mut json, EncodedFormatter))?;
    Ok(json.bytes)
}

/// A buffer of at most `max_bytes`.
struct Bounded {
    bytes: Vec<u8>,
    max_bytes: usize,
}

impl io::Write for Bounded {
    fn write(&mut self, more: &[u8]) -> io::Result<usize> {
        if self.bytes.len() + more.len() > self.max_bytes {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        self.bytes.extend_from_slice(more);
        Ok(more.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The response to a request that failed before its execution: `data` is absent, not null.
#[derive(Serialize)]
struct RequestError<'a> {
    errors: &'a [ServerError],
}

#[cfg(test)]
mod tests {
    use async_graphql::{PathSegment, Pos};

    use super::*;

    fn finished_error(message: &str, path: Vec<PathSegment>) -> (String, Value) {
        let mut error = ServerError::new(message, Some(Pos::default()));
        error.path = path;
        let error = finish(Response::from_errors(vec![error]), None).errors.remove(0);
        (error.message, error.extensions.unwrap().get("code").unwrap().clone())
    }

    #[test]
    fn an_error_without_a_code_becomes_invalid_input_or_internal() {
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

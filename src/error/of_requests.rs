//! Errors of a request: who sends it, and how it is written.
//!
//! Owns the texts for callers. Does not own the codes and their HTTP statuses: those are in the table of the parent module.

use super::{Code, Error};

impl Error {
    /// The request has no valid token.
    pub fn unauthenticated() -> Self {
        Self::new(Code::Unauthenticated, "a valid bearer token is required")
    }

    /// The thing does not exist for this caller. `what` is a noun.
    pub fn not_found(what: &str) -> Self {
        Self::new(Code::NotFound, format!("there is no such {what}"))
    }

    /// An input field has an invalid value.
    pub fn invalid(field: &'static str, problem: impl std::fmt::Display) -> Self {
        let mut error = Self::new(Code::InvalidInput, format!("{field}: {problem}")).with("field", field);
        error.field = Some(field);
        error
    }

    /// The name of an owner is invalid.
    pub fn invalid_owner() -> Self {
        Self::invalid("owner", "1 to 255 visible ASCII characters, without spaces")
    }

    /// A header comes twice. `field` names it.
    pub fn doubled(field: &'static str) -> Self {
        Self::invalid(field, "send this header once")
    }

    /// The request is malformed as a whole.
    pub fn malformed(problem: impl Into<String>) -> Self {
        Self::new(Code::InvalidInput, problem)
    }

    /// The route does not support the method. `why` is the message.
    pub fn method_not_allowed(why: &str) -> Self {
        Self::new(Code::MethodNotAllowed, why)
    }

    /// The body has another media type than JSON.
    pub fn not_json() -> Self {
        Self::new(Code::UnsupportedMediaType, "the body must be JSON, with Content-Type: application/json")
    }

    /// The body has another media type than the one that the route accepts.
    pub fn unsupported_media_type(accepted: &str) -> Self {
        Self::new(Code::UnsupportedMediaType, format!("the body must have Content-Type: {accepted}"))
    }

    /// The client does not speak the version of the protocol that the server speaks. `header` is how to declare it.
    pub fn unsupported_version(header: &str) -> Self {
        Self::new(Code::PreconditionFailed, format!("the server does nothing without the header {header}"))
    }

    /// The range begins after the end of a file of this size.
    pub fn range_not_satisfiable(size_bytes: u64) -> Self {
        Self::new(Code::RangeNotSatisfiable, "the range begins after the end of the file")
            .with("size_bytes", size_bytes)
    }

    /// There are more bytes than `limit_bytes`. `what` is a noun.
    pub fn too_large(what: &str, limit_bytes: u64) -> Self {
        Self::new(Code::TooLarge, format!("{what} may have at most {limit_bytes} bytes"))
            .with("limit_bytes", limit_bytes)
    }

    /// The request needs the length of the file, and has none. `how` says how to send it.
    pub fn length_required(how: &str) -> Self {
        Self::new(Code::LengthRequired, format!("the server must know the length of the file: {how}"))
    }

    /// A condition of the request does not hold.
    pub fn precondition_failed() -> Self {
        Self::new(Code::PreconditionFailed, "the resource does not meet the conditions of the request; read it again")
    }

    /// The request is not allowed for any caller. `why` is the message.
    pub fn forbidden(why: &str) -> Self {
        Self::new(Code::Forbidden, why)
    }

    /// The caller's token opens one upload or one file, and the request needs more.
    pub fn narrow_token() -> Self {
        Self::new(Code::Forbidden, "this token opens one upload or one file only")
    }

    /// The server has no document with this hash. Apollo's clients look for exactly this text.
    pub fn persisted_query_not_found() -> Self {
        Self::new(Code::PersistedQueryNotFound, "PersistedQueryNotFound")
    }
}

//! Why a request failed, and whether a retry may succeed.
//!
//! Owns the error of a single request. Does not decide how long to retry: that is `retry`. Does not cover a whole upload:
//! that is `upload_error`.

use std::{error::Error as StdError, fmt, io, time::Duration};

use reqwest::StatusCode;

/// Why a request failed.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The server rejected the request.
    #[error("{detail} ({code})")]
    Refused {
        /// HTTP status.
        status: StatusCode,
        /// The stable error code.
        code: String,
        /// The server's explanation.
        detail: String,
        /// Whether a retry may succeed.
        retryable: bool,
        /// How long the client should wait, from `Retry-After`.
        retry_after: Option<Duration>,
    },
    /// The response does not come from Partway, but from a proxy or another server.
    #[error("{detail}")]
    NotPartway {
        /// HTTP status.
        status: StatusCode,
        /// The URL, the status and the media type of the response.
        detail: String,
        /// Whether a retry may succeed.
        retryable: bool,
        /// How long the client should wait, from `Retry-After`.
        retry_after: Option<Duration>,
    },
    /// The server is at another address. The client does not follow redirects, because that would send the token to another
    /// host, or drop it.
    #[error("{from} redirects to {to}; the client does not send the token there. Give the right address with --server")]
    Redirected {
        /// The URL of the request.
        from: String,
        /// The URL in `Location`.
        to: String,
    },
    /// The client received no response, or only a part of one.
    #[error("no answer from the server{}", hint(.0))]
    Network(#[from] reqwest::Error),
    /// The client could not send any bytes of a part for longer than the stall timeout.
    #[error("the connection is stalled")]
    Stalled,
    /// The token cannot be sent in a header.
    #[error("the token is empty or contains characters that a token cannot contain")]
    Token,
    /// The certificates to trust cannot be used.
    #[error("there is no valid certificate in PEM in the file of trusted certificates")]
    Certificates,
    /// The server's address is not an HTTP URL.
    #[error("{0} is not the address of a server; it must begin with http:// or https://")]
    Address(String),
}

impl ClientError {
    /// Whether a retry may succeed.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Refused { retryable, .. } | Self::NotPartway { retryable, .. } => *retryable,
            Self::Network(error) => !error.is_builder() && !is_untrusted(error),
            Self::Stalled => true,
            Self::Redirected { .. } | Self::Address(_) | Self::Token | Self::Certificates => false,
        }
    }

    /// Whether the address is probably wrong: the host is unknown, nothing listens there, or it does not speak HTTP. This is
    /// a hint only as long as no server has answered at this address.
    pub fn looks_like_wrong_address(&self) -> bool {
        matches!(self, Self::Network(error) if error.is_connect() || is_not_http(error))
    }

    /// Whether the client received a response, from the server or from a proxy.
    pub fn is_response(&self) -> bool {
        matches!(self, Self::Refused { .. } | Self::NotPartway { .. })
    }

    /// How long the client should wait, from the `Retry-After` of the server or a proxy.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Refused { retry_after, .. } | Self::NotPartway { retry_after, .. } => *retry_after,
            _ => None,
        }
    }

    /// The stable error code, if the server rejected the request.
    pub fn code(&self) -> Option<&str> {
        match self {
            Self::Refused { code, .. } => Some(code),
            _ => None,
        }
    }
}

/// The messages of an error and its causes in one line. Leaves out reqwest's own messages, which repeat the URL.
pub(super) fn in_one_line(error: &(dyn StdError + 'static)) -> String {
    let mut messages: Vec<String> = causes(error).filter(|cause| !cause.is::<reqwest::Error>()).map(text).collect();
    messages.dedup();
    messages.join(": ")
}

fn text(error: &(dyn StdError + 'static)) -> String {
    error.to_string()
}

/// An error and its causes.
fn causes<'a>(error: &'a (dyn StdError + 'static)) -> impl Iterator<Item = &'a (dyn StdError + 'static)> {
    std::iter::successors(Some(error), |error| cause(*error))
}

/// The next cause. `io::Error::source` skips the error that it wraps, so ask for that one first.
fn cause<'a>(error: &'a (dyn StdError + 'static)) -> Option<&'a (dyn StdError + 'static)> {
    match error.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
        Some(wrapped) => Some(wrapped),
        None => error.source(),
    }
}

fn find<E: StdError + 'static>(error: &reqwest::Error) -> Option<&E> {
    causes(error).find_map(|cause| cause.downcast_ref::<E>())
}

/// Whether the server's certificate is invalid. A retry cannot succeed.
fn is_untrusted(error: &reqwest::Error) -> bool {
    matches!(find(error), Some(rustls::Error::InvalidCertificate(_)))
}

fn is_not_tls(error: &reqwest::Error) -> bool {
    matches!(find(error), Some(rustls::Error::InvalidMessage(_)))
}

fn is_not_http(error: &reqwest::Error) -> bool {
    find::<hyper::Error>(error).is_some_and(hyper::Error::is_parse)
}

fn hint(error: &reqwest::Error) -> impl fmt::Display {
    match error {
        error if is_not_tls(error) => ", which does not speak TLS; is its address http://…?",
        error if is_not_http(error) => ", which does not speak plain HTTP; is its address https://…?",
        _ => "",
    }
}

//! Why a request failed, and whether trying again may help.
//!
//! Owns the one error of this client and what follows from its causes. How long to try is `patience`'s.

use std::{error::Error as StdError, fmt, io, time::Duration};

use reqwest::StatusCode;

/// Why a request failed.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The server refused.
    #[error("{detail} ({code})")]
    Refused {
        /// HTTP status.
        status: StatusCode,
        /// The stable code.
        code: String,
        /// The server's words.
        detail: String,
        /// Whether trying again may help.
        retryable: bool,
        /// How long the server wants to be left alone.
        retry_after: Option<Duration>,
    },
    /// The answer is not one of Partway's: a proxy gave it, or another server.
    #[error("{detail}")]
    Foreign {
        /// HTTP status.
        status: StatusCode,
        /// Which host answered, and what.
        detail: String,
        /// Whether trying again may help.
        retryable: bool,
        /// How long the proxy wants to be left alone.
        retry_after: Option<Duration>,
    },
    /// The server is at another address. Following the redirect would send the token to another host, or drop it.
    #[error("{from} redirects to {to}, and the token does not go along; name the right address with --server")]
    Redirected {
        /// What was asked for.
        from: String,
        /// Where it is said to be.
        to: String,
    },
    /// No answer, or one that was cut.
    #[error("no answer from the server{}", hint(.0))]
    Network(#[from] reqwest::Error),
    /// Nothing of a part went out for so long that the connection is taken for dead.
    #[error("the connection is stalled")]
    Stalled,
    /// The token cannot be sent in a header.
    #[error("the token has characters that no token has")]
    Token,
    /// The server's address is not one.
    #[error("{0} is no address of a server")]
    Address(String),
}

impl ClientError {
    /// Whether trying again may help.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Refused { retryable, .. } | Self::Foreign { retryable, .. } => *retryable,
            Self::Network(error) => !error.is_builder() && !is_untrusted(error),
            Self::Stalled => true,
            Self::Redirected { .. } | Self::Address(_) | Self::Token => false,
        }
    }

    /// Whether it is the address that is wrong, unless the server has answered there before: unknown host, nothing that
    /// listens, another protocol.
    pub fn looks_like_wrong_address(&self) -> bool {
        matches!(self, Self::Network(error) if error.is_connect() || is_not_http(error))
    }

    /// Whether somebody answered at all.
    pub fn is_answer(&self) -> bool {
        matches!(self, Self::Refused { .. } | Self::Foreign { .. })
    }

    /// How long the server, or a proxy before it, wants to be left alone.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Refused { retry_after, .. } | Self::Foreign { retry_after, .. } => *retry_after,
            _ => None,
        }
    }

    /// The stable code, if the server refused.
    pub fn code(&self) -> Option<&str> {
        match self {
            Self::Refused { code, .. } => Some(code),
            _ => None,
        }
    }
}

/// An error's words and those of its causes in one line, without the addresses: for a notice that comes again.
pub(super) fn in_one_line(error: &(dyn StdError + 'static)) -> String {
    let mut words: Vec<String> = causes(error).filter(|cause| !cause.is::<reqwest::Error>()).map(text).collect();
    words.dedup();
    words.join(": ")
}

fn text(error: &(dyn StdError + 'static)) -> String {
    error.to_string()
}

/// An error and its causes.
fn causes<'a>(error: &'a (dyn StdError + 'static)) -> impl Iterator<Item = &'a (dyn StdError + 'static)> {
    std::iter::successors(Some(error), |error| cause(*error))
}

/// What an `io::Error` wraps is not its source.
fn cause<'a>(error: &'a (dyn StdError + 'static)) -> Option<&'a (dyn StdError + 'static)> {
    match error.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
        Some(wrapped) => Some(wrapped),
        None => error.source(),
    }
}

fn find<E: StdError + 'static>(error: &reqwest::Error) -> Option<&E> {
    causes(error).find_map(|cause| cause.downcast_ref::<E>())
}

/// A certificate does not become right by asking again.
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

//! The connections of the client.
//!
//! Owns time limits. Does not send requests: that is `api`.

use std::time::Duration;

use reqwest::{ClientBuilder, redirect};

use super::error::ClientError;
use crate::tls;

const USER_AGENT: &str = concat!("partway/", env!("CARGO_PKG_VERSION"));
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long the server may send nothing before the request fails.
const READ_TIMEOUT: Duration = Duration::from_mins(2);
/// How long sent bytes may stay unacknowledged by the peer before the kernel closes the connection.
#[cfg(target_os = "linux")]
const TCP_USER_TIMEOUT: Duration = Duration::from_mins(2);
const TCP_KEEPALIVE: Duration = Duration::from_secs(30);

/// The connections to one server.
#[derive(Clone, Debug)]
pub(super) struct Connections {
    pub(super) for_requests: reqwest::Client,
    /// Has no read timeout, because the server responds only after it has received the whole part.
    pub(super) for_parts: reqwest::Client,
}

impl Connections {
    pub(super) fn new() -> Result<Self, ClientError> {
        tls::use_ring();
        Ok(Self { for_requests: builder().read_timeout(READ_TIMEOUT).build()?, for_parts: builder().build()? })
    }
}

fn builder() -> ClientBuilder {
    let builder = reqwest::Client::builder().user_agent(USER_AGENT);
    let builder = builder.connect_timeout(CONNECT_TIMEOUT).tcp_keepalive(TCP_KEEPALIVE);
    #[cfg(target_os = "linux")]
    let builder = builder.tcp_user_timeout(TCP_USER_TIMEOUT);
    // After a redirect, reqwest would drop the token, and often the body.
    builder.redirect(redirect::Policy::none())
}

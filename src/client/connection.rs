//! The connections of the client.
//!
//! Owns time limits, the trusted certificates and the proxies. Does not send requests: that is `api`.
//!
//! reqwest reads `HTTP_PROXY`, `HTTPS_PROXY`, `ALL_PROXY` and `NO_PROXY`, in upper and lower case, so no code here does.

use std::time::Duration;

use reqwest::{Certificate, ClientBuilder, redirect};

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
    /// Trusts the certificates of the system, and those of this PEM text. Without TLS it needs none: small containers have no
    /// certificates.
    pub(super) fn new(ca_pem: Option<&[u8]>, is_tls: bool) -> Result<Self, ClientError> {
        tls::use_ring();
        let trusted = ca_pem.map(certificates).transpose()?.unwrap_or_default();
        let build = |builder: ClientBuilder| match builder.build() {
            Err(error) if trusted.is_empty() => Err(ClientError::Network(error)),
            // reqwest reads the certificates again, and more closely.
            Err(_) => Err(ClientError::Certificates),
            Ok(client) => Ok(client),
        };
        let connect = |configure: fn(ClientBuilder) -> ClientBuilder| match build(configure(builder(&trusted))) {
            Err(_) if !is_tls => build(configure(builder(&trusted).tls_certs_only([]))),
            built => built,
        };
        Ok(Self {
            for_requests: connect(|builder| builder.read_timeout(READ_TIMEOUT))?,
            for_parts: connect(|builder| builder)?,
        })
    }
}

fn certificates(pem: &[u8]) -> Result<Vec<Certificate>, ClientError> {
    let found = Certificate::from_pem_bundle(pem).map_err(|_| ClientError::Certificates)?;
    if found.is_empty() { Err(ClientError::Certificates) } else { Ok(found) }
}

fn builder(trusted: &[Certificate]) -> ClientBuilder {
    let builder = reqwest::Client::builder().user_agent(USER_AGENT).tls_certs_merge(trusted.iter().cloned());
    let builder = builder.connect_timeout(CONNECT_TIMEOUT).tcp_keepalive(TCP_KEEPALIVE);
    #[cfg(target_os = "linux")]
    let builder = builder.tcp_user_timeout(TCP_USER_TIMEOUT);
    // After a redirect, reqwest would drop the token, and often the body.
    builder.redirect(redirect::Policy::none())
}

//! The URL of a webhook.
//!
//! Owns which URLs the server accepts. A name is accepted here and checked again when it is resolved: see `address`.

use std::{fmt, net::IpAddr};

use url::{Host, Url};

use super::{
    WebhookSettings,
    address::{LOCALHOST, Policy},
};

const MAX_BYTES: usize = 2_000;

/// A URL to which the server may send events.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target(Url);

/// Why a URL cannot be a target.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct InvalidTarget(&'static str);

impl Target {
    /// Reads a URL.
    ///
    /// # Errors
    /// It is not an absolute URL, has a user, a password or a fragment, is not encrypted, or names an address that the
    /// settings do not allow.
    pub fn parse(text: &str, settings: &WebhookSettings) -> Result<Self, InvalidTarget> {
        let refused = |why| Err(InvalidTarget(why));
        if text.len() > MAX_BYTES {
            return refused("a URL has at most 2000 bytes");
        }
        let Ok(url) = Url::parse(text) else { return refused("not a URL such as https://example.org/hook") };
        // The parser escapes characters.
        if url.as_str().len() > MAX_BYTES {
            return refused("a URL has at most 2000 bytes");
        }
        if !url.username().is_empty() || url.password().is_some() || url.fragment().is_some() {
            return refused("a URL without user, password and fragment");
        }
        let (tls, allow_private) = (url.scheme() == "https", settings.allow_private);
        if !tls && url.scheme() != "http" {
            return refused("a URL that begins with https://");
        }
        let (literal, is_local) = match url.host() {
            Some(Host::Ipv4(address)) => (Some(IpAddr::V4(address)), address.is_loopback()),
            Some(Host::Ipv6(address)) => (Some(IpAddr::V6(address)), address.is_loopback()),
            Some(Host::Domain(name)) => (None, name == LOCALHOST),
            None => return refused("not a URL such as https://example.org/hook"),
        };
        if !tls && !is_local && !allow_private {
            return refused("a URL that begins with https://; http:// is only for localhost");
        }
        match literal {
            Some(address) if !(Policy { allow_private, tls }).admits(address, is_local) => {
                refused("the address is not one that the server may send to; webhook_allow_private allows private ones")
            }
            _ => Ok(Self(url)),
        }
    }

    /// The URL.
    pub fn as_url(&self) -> &Url {
        &self.0
    }

    /// Whether the connection has TLS.
    pub(super) fn has_tls(&self) -> bool {
        self.0.scheme() == "https"
    }
}

/// The URL without its query, which may contain a secret.
impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.0.origin().ascii_serialization(), self.0.path())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn parse(url: &str, allow_private: bool) -> Result<Target, InvalidTarget> {
        Target::parse(url, &WebhookSettings { allow_private, timeout: Duration::from_secs(1) })
    }

    #[test]
    fn a_url_is_encrypted_unless_it_names_this_machine() {
        for url in [
            "https://example.org",
            "https://example.org:8443/hook?key=1",
            "https://8.8.8.8/",
            "https://[2606:4700::1111]/",
            "http://localhost:9000/hook",
            "http://LOCALHOST/",
            "http://127.0.0.1:9000",
            "http://127.1/",
            "http://[::1]:9000/",
            "https://localhost/",
        ] {
            assert!(parse(url, false).is_ok(), "{url}: {:?}", parse(url, false));
            assert!(parse(url, true).is_ok(), "{url}");
        }
    }

    #[test]
    fn private_addresses_and_plain_http_to_them_need_the_setting() {
        for url in [
            "http://example.org/",
            "http://receiver.internal/",
            "https://10.0.0.1/",
            "http://10.0.0.1/",
            "https://192.168.1.1/",
            "https://[fd00::1]/",
            "https://[::ffff:10.0.0.1]/",
            "https://[::ffff:127.0.0.1]/",
            "https://0xa000001/",
            "https://100.64.0.1/",
        ] {
            assert!(parse(url, false).is_err(), "{url}");
            assert!(parse(url, true).is_ok(), "{url}");
        }
    }

    #[test]
    fn other_urls_are_refused() {
        for url in [
            "",
            "example.org/hook",
            "/hook",
            "ftp://example.org/",
            "file:///etc/passwd",
            "data:,x",
            "https://",
            "https://user@example.org/",
            "https://:password@example.org/",
            "https://example.org/#part",
            "http://8.8.8.8/",
            "https://0.0.0.0/",
            "https://169.254.169.254/latest/meta-data",
            "http://[fe80::1]/",
            "https://224.0.0.1/",
            &format!("https://example.org/{}", "x".repeat(MAX_BYTES)),
            // Longer as soon as it is escaped.
            &format!("https://example.org/{}", "é".repeat(MAX_BYTES / 4)),
        ] {
            assert!(parse(url, false).is_err() && parse(url, true).is_err(), "{url}");
        }
    }

    #[test]
    fn a_query_is_not_displayed() {
        let target = parse("https://example.org/hook?key=secret", false).unwrap();
        assert_eq!(target.to_string(), "https://example.org/hook");
        assert_eq!(target.as_url().as_str(), "https://example.org/hook?key=secret");
    }
}

//! The secret of a webhook, and the signature of a message.
//!
//! Owns how a secret is generated, written and read, and what exactly is signed. Does not own when a secret is replaced:
//! that is `webhook`.

use std::{fmt, str::FromStr};

use base64::prelude::{BASE64_STANDARD, Engine as _};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

/// The prefix of every secret, by which people, libraries and secret scanners recognize it.
const PREFIX: &str = "whsec_";
/// Identifies the kind of signature: HMAC with SHA-256.
const VERSION: &str = "v1";

/// The secret of a webhook: 256 random bits. The receiver has the same secret, and verifies signatures with it.
#[derive(Clone, PartialEq, Eq)]
pub struct WebhookSecret([u8; 32]);

/// Text that is not a secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a secret is whsec_ and 32 bytes in Base64")]
pub struct InvalidSecret;

impl WebhookSecret {
    /// A new random secret.
    ///
    /// # Errors
    /// The operating system gives no random bytes.
    pub fn random() -> Result<Self, getrandom::Error> {
        let mut key = [0; 32];
        getrandom::fill(&mut key)?;
        Ok(Self(key))
    }

    /// The secret as text, for the database and for the person who adds the webhook.
    pub fn reveal(&self) -> String {
        format!("{PREFIX}{}", BASE64_STANDARD.encode(self.0))
    }

    fn sign(&self, id: &str, timestamp: i64, body: &[u8]) -> String {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.0).expect("HMAC accepts keys of every length");
        mac.update(format!("{id}.{timestamp}.").as_bytes());
        mac.update(body);
        format!("{VERSION},{}", BASE64_STANDARD.encode(mac.finalize().into_bytes()))
    }
}

/// The value of `webhook-signature`: one signature for each secret. A receiver accepts the message if it knows one of
/// the secrets.
pub fn webhook_signatures(secrets: &[WebhookSecret], id: &str, timestamp: i64, body: &[u8]) -> String {
    secrets.iter().map(|secret| secret.sign(id, timestamp, body)).collect::<Vec<_>>().join(" ")
}

impl FromStr for WebhookSecret {
    type Err = InvalidSecret;

    fn from_str(text: &str) -> Result<Self, InvalidSecret> {
        let key = text.strip_prefix(PREFIX).and_then(|key| BASE64_STANDARD.decode(key).ok());
        key.and_then(|key| key.try_into().ok()).map(Self).ok_or(InvalidSecret)
    }
}

/// Keeps the secret out of logs.
impl fmt::Debug for WebhookSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("WebhookSecret(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_read_back_and_stays_out_of_logs() {
        let secret = WebhookSecret::random().unwrap();
        assert_eq!(secret.reveal().parse(), Ok(secret.clone()));
        assert_eq!(format!("{secret:?}"), "WebhookSecret(…)");
        assert!(secret != WebhookSecret::random().unwrap());
        for bad in ["", "whsec_", "whsec_AAAA", &secret.reveal()[6..], &format!("{}AAAA", secret.reveal())] {
            assert_eq!(bad.parse::<WebhookSecret>(), Err(InvalidSecret), "{bad}");
        }
    }

    /// The value was computed with OpenSSL.
    #[test]
    fn a_signature_is_the_hmac_of_id_time_and_body() {
        let secret: WebhookSecret = "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=".parse().unwrap();
        let signature = webhook_signatures(&[secret], "evt_1", 1_700_000_000, br#"{"type":"upload.completed"}"#);
        assert_eq!(signature, "v1,7seiHA/QgHU1tg8c76MPUJnjr6sD3xac4BIvXnMxNCo=");
    }

    #[test]
    fn the_library_of_standard_webhooks_accepts_both_signatures_of_a_rotation() {
        let (old, new) = (WebhookSecret::random().unwrap(), WebhookSecret::random().unwrap());
        #[expect(clippy::disallowed_methods, reason = "the library compares with the system clock")]
        let now = chrono::Utc::now().timestamp();
        let body = br#"{"type":"upload.completed"}"#;
        let mut headers = reqwest::header::HeaderMap::new();
        headers.insert("webhook-id", "evt_1".parse().unwrap());
        headers.insert("webhook-timestamp", now.to_string().parse().unwrap());
        let signature = webhook_signatures(&[new.clone(), old.clone()], "evt_1", now, body);
        headers.insert("webhook-signature", signature.parse().unwrap());
        for secret in [&old, &new] {
            let receiver = standardwebhooks::Webhook::new(&secret.reveal()).unwrap();
            receiver.verify(body, &headers).unwrap();
            receiver.verify(b"other", &headers).unwrap_err();
        }
        let other = standardwebhooks::Webhook::new(&WebhookSecret::random().unwrap().reveal()).unwrap();
        other.verify(body, &headers).unwrap_err();
    }
}

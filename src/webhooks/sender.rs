//! One attempt to send one message.
//!
//! Owns the request, its headers, its time limit, and the meaning of the answer. Does not retry: `service/deliver.rs`
//! does that.

use std::{
    error::Error as _,
    sync::{Arc, OnceLock},
    time::Duration,
};

use reqwest::{Client, Response, StatusCode, header, redirect};

use super::{Target, WebhookSettings, address::Policy};
use crate::{
    domain::{Timestamp, WebhookSecret, webhook_signatures},
    tls,
};

const USER_AGENT: &str = concat!("partway/", env!("CARGO_PKG_VERSION"));
/// How much of an answer is read, so that the connection can be used again.
const MAX_ANSWER_BYTES: usize = 16 * 1024;
/// How long the server reads it for that.
const MAX_REST: Duration = Duration::from_secs(1);
/// The longest stored text of an error.
const MAX_ERROR_CHARS: usize = 300;

/// A message to send.
#[derive(Clone, Copy, Debug)]
pub struct Message<'a> {
    /// The id of the event, the same in every attempt. A receiver can recognize by it what it has already received.
    pub id: &'a str,
    /// The JSON, byte for byte the same in every attempt.
    pub body: &'a str,
    /// The time of the attempt.
    pub sent_at: Timestamp,
}

/// The result of an attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The receiver has accepted the message with this status.
    Delivered(u16),
    /// The receiver wants no more messages.
    Gone,
    /// Everything else.
    Failed {
        /// The status of the answer. `None` without an answer.
        status: Option<u16>,
        /// What went wrong, without the URL.
        error: String,
        /// How long the receiver asks to wait.
        retry_after: Option<Duration>,
    },
}

/// Sends messages. Connections to a receiver are used again.
#[derive(Debug)]
pub struct Sender {
    settings: WebhookSettings,
    /// For URLs with TLS and without. The two may connect to different addresses. Made for the first message: a server
    /// without webhooks needs no certificates.
    tls: OnceLock<Client>,
    plain: OnceLock<Client>,
}

impl Sender {
    /// A sender with these settings.
    pub fn new(settings: WebhookSettings) -> Self {
        Self { settings, tls: OnceLock::new(), plain: OnceLock::new() }
    }

    /// The client for connections with TLS, or without.
    fn client(&self, tls: bool) -> Result<Client, reqwest::Error> {
        let cell = if tls { &self.tls } else { &self.plain };
        if let Some(client) = cell.get() {
            return Ok(client.clone());
        }
        tls::use_ring();
        let client = Client::builder()
            .user_agent(USER_AGENT)
            .timeout(self.settings.timeout)
            .redirect(redirect::Policy::none())
            // A proxy would resolve the name itself, so the addresses could not be checked.
            .no_proxy()
            .dns_resolver(Arc::new(Policy { allow_private: self.settings.allow_private, tls }))
            .build()?;
        Ok(cell.get_or_init(|| client).clone())
    }

    /// The settings.
    pub fn settings(&self) -> &WebhookSettings {
        &self.settings
    }

    /// Sends a message once. Signs it with each of the secrets.
    pub async fn send(&self, target: &Target, secrets: &[WebhookSecret], message: Message<'_>) -> Outcome {
        let Message { id, body, sent_at } = message;
        let timestamp = sent_at.timestamp();
        let failed = |error: &_| Outcome::Failed { status: None, error: self.describe(error), retry_after: None };
        let client = match self.client(target.has_tls()) {
            Ok(client) => client,
            Err(error) => return failed(&error),
        };
        let request = client
            .post(target.as_url().clone())
            .header(header::CONTENT_TYPE, "application/json")
            .header("webhook-id", id)
            .header("webhook-timestamp", timestamp)
            .header("webhook-signature", webhook_signatures(secrets, id, timestamp, body.as_bytes()))
            .body(body.to_owned());
        match request.send().await {
            Ok(response) => {
                let outcome = outcome(&response, sent_at);
                // The answer counts already. A receiver that does not end it must not delay the next messages.
                let _ = tokio::time::timeout(MAX_REST, read_rest(response)).await;
                outcome
            }
            Err(error) => failed(&error),
        }
    }

    /// What went wrong, without the URL.
    fn describe(&self, error: &reqwest::Error) -> String {
        if error.is_timeout() {
            return format!("no answer within {:?}", self.settings.timeout);
        }
        // The text of reqwest's own error contains the URL; the cause tells more.
        let (mut text, mut next) = (String::new(), error.source());
        while let Some(cause) = next {
            text = if text.is_empty() { cause.to_string() } else { format!("{text}: {cause}") };
            next = cause.source();
        }
        if text.is_empty() {
            text.push_str("the request cannot be sent");
        }
        text.chars().filter(|character| !character.is_control()).take(MAX_ERROR_CHARS).collect()
    }
}

fn outcome(response: &Response, now: Timestamp) -> Outcome {
    let status = response.status();
    if status.is_success() {
        return Outcome::Delivered(status.as_u16());
    }
    if status == StatusCode::GONE {
        return Outcome::Gone;
    }
    let retry_after = response.headers().get(header::RETRY_AFTER).and_then(|value| value.to_str().ok());
    let note = if status.is_redirection() { "; redirects are not followed" } else { "" };
    Outcome::Failed {
        status: Some(status.as_u16()),
        error: format!("status {}{note}", status.as_u16()),
        retry_after: retry_after.and_then(|text| parse_retry_after(text, now)),
    }
}

/// Seconds, or a date. `None` if it is neither, or in the past.
fn parse_retry_after(text: &str, now: Timestamp) -> Option<Duration> {
    let is_number = !text.trim().is_empty() && text.trim().bytes().all(|byte| byte.is_ascii_digit());
    match text.trim().parse() {
        Ok(seconds) => Some(Duration::from_secs(seconds)),
        // A number that is too large.
        Err(_) if is_number => Some(Duration::MAX),
        Err(_) => (Timestamp::from(httpdate::parse_http_date(text.trim()).ok()?) - now).to_std().ok(),
    }
}

/// Reads a short rest of the answer. The outcome is already known, so an error does not matter.
async fn read_rest(mut response: Response) {
    let mut left = MAX_ANSWER_BYTES;
    while let Ok(Some(chunk)) = response.chunk().await {
        left = left.saturating_sub(chunk.len());
        if left == 0 {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{Clock, SystemClock};

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let now = Timestamp::from(httpdate::parse_http_date("Sun, 29 Nov 2026 01:00:00 GMT").unwrap());
        let parse = |text| parse_retry_after(text, now);
        assert_eq!(parse("120"), Some(Duration::from_mins(2)));
        assert_eq!(parse(" 0 "), Some(Duration::ZERO));
        assert_eq!(parse("99999999999999999999999"), Some(Duration::MAX));
        assert_eq!(parse("Sun, 29 Nov 2026 02:00:00 GMT"), Some(Duration::from_hours(1)));
        for text in ["", "-1", "soon", "1.5", "Sun, 29 Nov 2026 00:00:00 GMT"] {
            assert_eq!(parse(text), None, "{text}");
        }
    }

    #[tokio::test]
    async fn an_error_tells_the_cause_and_no_url() {
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let settings = WebhookSettings { allow_private: false, timeout: Duration::from_secs(10) };
        let target = Target::parse(&format!("http://{free}/hook?key=hidden"), &settings).unwrap();
        let message = Message { id: "evt_1", body: "{}", sent_at: SystemClock.now() };
        let sender = Sender::new(settings);
        match sender.send(&target, &[WebhookSecret::random().unwrap()], message).await {
            Outcome::Failed { status: None, error, retry_after: None } => {
                assert!(error.contains("refused") && !error.contains("hook") && !error.contains("hidden"), "{error}");
            }
            other => panic!("{other:?}"),
        }
    }
}

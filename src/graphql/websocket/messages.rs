//! The messages of the protocol, and its close codes.

use async_graphql::{Response, ServerError};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::{domain::JsonLevel, http};

/// A message from the client.
pub(super) enum ClientMessage {
    /// The token, if the payload has one.
    ConnectionInit(Option<String>),
    Ping,
    Pong,
    Subscribe {
        id: String,
        payload: Box<RawValue>,
    },
    Complete {
        id: String,
    },
}

/// A message of any type. Its payload stays text until the type is parsed.
#[derive(Deserialize)]
struct Envelope {
    r#type: String,
    id: Option<String>,
    payload: Option<Box<RawValue>>,
}

impl ClientMessage {
    /// Parses a message. `None` if the text is not one.
    pub(super) fn read(text: &str) -> Option<Self> {
        let Envelope { r#type, id, payload } = serde_json::from_str(text).ok()?;
        let is_object = payload.as_ref().is_some_and(|payload| payload.get().starts_with('{'));
        Some(match r#type.as_str() {
            "connection_init" if is_object || payload.is_none() => {
                Self::ConnectionInit(payload.and_then(|payload| token(&payload)))
            }
            "ping" => Self::Ping,
            "pong" => Self::Pong,
            "subscribe" if is_object => Self::Subscribe { id: id?, payload: payload? },
            "complete" => Self::Complete { id: id? },
            _ => return None,
        })
    }
}

/// The token in the payload of `connection_init`: its field `Authorization` has the value `Bearer …`.
fn token(payload: &RawValue) -> Option<String> {
    let JsonLevel::Object(entries) = JsonLevel::read(payload).ok()? else { return None };
    let (_, header) = entries.into_iter().find(|(name, _)| name.eq_ignore_ascii_case("authorization"))?;
    let header: String = serde_json::from_str(header.get()).ok()?;
    http::parse_bearer(&header).map(str::to_owned)
}

/// A message from the server.
#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(super) enum ServerMessage<'a> {
    ConnectionAck,
    Ping,
    Pong,
    Next { id: &'a str, payload: &'a Response },
    Error { id: &'a str, payload: &'a [ServerError] },
    Complete { id: &'a str },
}

/// A close code and its reason.
pub(super) struct Close(pub(super) u16, pub(super) &'static str);

pub(super) const BROKEN_PROTOCOL: Close = Close(1002, "Protocol error");
pub(super) const BAD_TEXT: Close = Close(1007, "Text is not UTF-8");
pub(super) const TOO_LARGE: Close = Close(1009, "Message too large");
pub(super) const TRY_LATER: Close = Close(1013, "Try again later");
pub(super) const BAD_MESSAGE: Close = Close(4400, "Invalid message");
pub(super) const TOO_MANY_BEFORE_INIT: Close = Close(4400, "Too many messages before connection_init");
pub(super) const NOT_INITIALISED: Close = Close(4401, "Unauthorized");
pub(super) const FORBIDDEN: Close = Close(4403, "Forbidden");
pub(super) const INIT_TIMEOUT_PASSED: Close = Close(4408, "Connection initialisation timeout");
pub(super) const DUPLICATE_ID: Close = Close(4409, "Subscriber already exists");
pub(super) const TOO_MANY_INITS: Close = Close(4429, "Too many initialisation requests");
pub(super) const TOO_MANY_SOCKETS: Close = Close(4429, "Too many sockets");
pub(super) const GOING_AWAY: Close = Close(1001, "The server is stopping");
pub(super) const UNRESPONSIVE: Close = Close(4408, "The client does not respond");

//! What both sides say, and the codes with which a connection is closed, as the protocol has them.

use async_graphql::{Response, ServerError};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// A message from the client.
#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(super) enum ClientMessage {
    ConnectionInit {
        #[serde(default)]
        payload: Option<Map<String, Value>>,
    },
    Ping,
    Pong,
    Subscribe {
        id: String,
        payload: Map<String, Value>,
    },
    Complete {
        id: String,
    },
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

/// Why a connection is closed: the protocol's code and words.
pub(super) struct Close(pub(super) u16, pub(super) &'static str);

pub(super) const BROKEN_PROTOCOL: Close = Close(1002, "Protocol error");
pub(super) const BAD_TEXT: Close = Close(1007, "Text that is not UTF-8");
pub(super) const TOO_LARGE: Close = Close(1009, "Message too large");
pub(super) const TRY_LATER: Close = Close(1013, "Try again later");
pub(super) const BAD_MESSAGE: Close = Close(4400, "Invalid message");
pub(super) const TOO_MANY_BEFORE_INIT: Close = Close(4400, "Too many messages before connection_init");
pub(super) const NOT_INITIALISED: Close = Close(4401, "Unauthorized");
pub(super) const FORBIDDEN: Close = Close(4403, "Forbidden");
pub(super) const INIT_TOO_LATE: Close = Close(4408, "Connection initialisation timeout");
pub(super) const SAME_ID: Close = Close(4409, "Subscriber already exists");
pub(super) const TOO_MANY_INITS: Close = Close(4429, "Too many initialisation requests");
pub(super) const TOO_MANY_SOCKETS: Close = Close(4429, "Too many sockets");
pub(super) const GOING_AWAY: Close = Close(1001, "The server is stopping");
pub(super) const SILENT: Close = Close(4408, "No sign of life");

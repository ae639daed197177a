//! The socket itself.
//!
//! Owns messages in and out, how long one may take to be written, and how a socket ends: with which code, and with time for
//! the client to read it.

use std::time::Duration;

use axum::extract::ws::{CloseFrame, Message, WebSocket};
use futures_util::SinkExt;

use super::messages::{BAD_MESSAGE, BAD_TEXT, BROKEN_PROTOCOL, ClientMessage, Close, SILENT, ServerMessage, TOO_LARGE};

/// How long a client may take to read one message.
const WRITE_TIMEOUT: Duration = Duration::from_secs(20);
/// How long a client may take to answer a close. One that is still sending would lose the code with the connection.
const GOOD_BYE: Duration = Duration::from_secs(1);

/// A client's side of the conversation.
pub(super) enum Heard {
    Message(ClientMessage),
    /// A sign of life that wants a pong.
    Ping,
    /// Any other sign of life.
    Sign,
    /// It is gone.
    End,
}

pub(super) struct Wire {
    socket: WebSocket,
    /// Nothing can be read any more, although the client is there.
    is_broken: bool,
}

impl Wire {
    pub(super) fn new(socket: WebSocket) -> Self {
        Self { socket, is_broken: false }
    }

    /// What comes next. Loses nothing when it is given up.
    pub(super) async fn hear(&mut self) -> Result<Heard, Close> {
        let message = match self.socket.recv().await {
            Some(Ok(message)) => message,
            Some(Err(error)) => {
                let Some(close) = close_for(error) else { return Ok(Heard::End) };
                self.is_broken = true;
                return Err(close);
            }
            None => return Ok(Heard::End),
        };
        match message {
            Message::Text(text) => ClientMessage::read(&text).map(Heard::Message).ok_or(BAD_MESSAGE),
            Message::Binary(_) => Err(BAD_MESSAGE),
            Message::Close(_) => {
                // The library has queued the answer; without it a browser reports that the connection broke.
                let _ = self.pong().await;
                Ok(Heard::End)
            }
            Message::Ping(_) => Ok(Heard::Ping),
            Message::Pong(_) => Ok(Heard::Sign),
        }
    }

    /// Sends the pong that the library has queued. To be called before more is read: pongs to a client that does not read
    /// must not pile up.
    pub(super) async fn pong(&mut self) -> Result<(), Close> {
        tokio::time::timeout(WRITE_TIMEOUT, self.socket.flush()).await.map(drop).map_err(|_| SILENT)
    }

    pub(super) async fn say(&mut self, message: &ServerMessage<'_>) -> Result<(), Close> {
        let text = serde_json::to_string(message).unwrap_or_default();
        match tokio::time::timeout(WRITE_TIMEOUT, self.socket.send(Message::Text(text.into()))).await {
            // That a client is gone is noticed by the next look for its messages.
            Ok(sent) => sent.or_else(|error| close_for(error).map_or(Ok(()), Err)),
            Err(_) => Err(SILENT),
        }
    }

    /// Says why it ends, and unless it is to end at once, waits a little for the answer.
    pub(super) async fn close(mut self, Close(code, reason): Close, is_at_once: bool) {
        let frame = Message::Close(Some(CloseFrame { code, reason: reason.into() }));
        let good_bye = async {
            if self.socket.send(frame).await.is_ok() {
                while let Some(Ok(_)) = self.socket.recv().await {}
                if self.is_broken {
                    std::future::pending::<()>().await;
                }
            }
        };
        // Without any time what can be sent is sent all the same.
        let _ = tokio::time::timeout(if is_at_once { Duration::ZERO } else { GOOD_BYE }, good_bye).await;
    }
}

/// What a client did wrong, unless it is just gone.
fn close_for(error: axum::Error) -> Option<Close> {
    use tungstenite::{Error, error::ProtocolError};
    match *error.into_inner().downcast::<Error>().ok()? {
        Error::Capacity(_) | Error::WriteBufferFull(_) => Some(TOO_LARGE),
        Error::Protocol(ProtocolError::ResetWithoutClosingHandshake) => None,
        Error::Protocol(_) => Some(BROKEN_PROTOCOL),
        Error::Utf8(_) => Some(BAD_TEXT),
        _ => None,
    }
}

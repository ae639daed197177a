//! The socket itself.
//!
//! Owns messages in and out, how long one may take to be written, and how a socket ends: with which code, and with time for
//! the client to read it.

use std::time::Duration;

use axum::extract::ws::{CloseFrame, Message, WebSocket};
use futures_util::SinkExt;

use super::messages::{BAD_MESSAGE, BAD_TEXT, BROKEN_PROTOCOL, ClientMessage, Close, UNRESPONSIVE, ServerMessage, TOO_LARGE};

/// How long a client may take to read one message.
const WRITE_TIMEOUT: Duration = Duration::from_secs(20);
/// How long a client may take to answer a close. One that is still sending would lose the code with the connection.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

/// What came from the client.
pub(super) enum Received {
    Message(ClientMessage),
    /// A ping, which wants a pong.
    Ping,
    /// Any other sign of life.
    Pong,
    /// The client is gone.
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

    /// The next message. Cancel safe.
    pub(super) async fn receive(&mut self) -> Result<Received, Close> {
        let message = match self.socket.recv().await {
            Some(Ok(message)) => message,
            Some(Err(error)) => {
                let Some(close) = close_for(error) else { return Ok(Received::End) };
                self.is_broken = true;
                return Err(close);
            }
            None => return Ok(Received::End),
        };
        match message {
            Message::Text(text) => ClientMessage::read(&text).map(Received::Message).ok_or(BAD_MESSAGE),
            Message::Binary(_) => Err(BAD_MESSAGE),
            Message::Close(_) => {
                // The library has queued the answer; without it a browser reports that the connection broke.
                let _ = self.pong().await;
                Ok(Received::End)
            }
            Message::Ping(_) => Ok(Received::Ping),
            Message::Pong(_) => Ok(Received::Pong),
        }
    }

    /// Sends the pong that the library has queued. Call it before the next read: pongs to a client that does not read must
    /// not pile up.
    pub(super) async fn pong(&mut self) -> Result<(), Close> {
        tokio::time::timeout(WRITE_TIMEOUT, self.socket.flush()).await.map(drop).map_err(|_| UNRESPONSIVE)
    }

    pub(super) async fn send(&mut self, message: &ServerMessage<'_>) -> Result<(), Close> {
        let text = serde_json::to_string(message).unwrap_or_default();
        match tokio::time::timeout(WRITE_TIMEOUT, self.socket.send(Message::Text(text.into()))).await {
            // The next read notices that a client is gone.
            Ok(sent) => sent.or_else(|error| close_for(error).map_or(Ok(()), Err)),
            Err(_) => Err(UNRESPONSIVE),
        }
    }

    /// Sends the reason, and waits a moment for the answer unless the socket must close at once.
    pub(super) async fn close(mut self, Close(code, reason): Close, at_once: bool) {
        let frame = Message::Close(Some(CloseFrame { code, reason: reason.into() }));
        let handshake = async {
            if self.socket.send(frame).await.is_ok() {
                while let Some(Ok(_)) = self.socket.recv().await {}
                if self.is_broken {
                    std::future::pending::<()>().await;
                }
            }
        };
        // With no time left, what can be sent without waiting is sent all the same.
        let _ = tokio::time::timeout(if at_once { Duration::ZERO } else { CLOSE_TIMEOUT }, handshake).await;
    }
}

/// The client's fault, unless it is just gone.
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

//! Reading from a socket, writing to it, and closing it.
//!
//! Owns the timeout of a write, the close code for each failure, and the time for the client to read that code.

use std::time::Duration;

use axum::extract::ws::{CloseFrame, Message, WebSocket};
use futures_util::SinkExt;

use super::messages::{
    BAD_MESSAGE, BAD_TEXT, BROKEN_PROTOCOL, ClientMessage, Close, ServerMessage, TOO_LARGE, UNRESPONSIVE,
};
use crate::graphql::response;

/// Time in which a client must read one message.
const WRITE_TIMEOUT: Duration = Duration::from_secs(20);
/// Time in which a client may answer a close. If the server closed the connection without waiting, a client that is still
/// sending would not see the code.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

/// A frame from the client.
pub(super) enum Received {
    Message(ClientMessage),
    /// A ping. The caller must call [`Wire::pong`].
    Ping,
    Pong,
    /// The client has disconnected.
    End,
}

pub(super) struct Wire {
    socket: WebSocket,
    /// Whether reading has failed while the client is still connected.
    is_broken: bool,
}

impl Wire {
    pub(super) fn new(socket: WebSocket) -> Self {
        Self { socket, is_broken: false }
    }

    /// Reads the next frame. Cancel safe.
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
                // The library has queued the close frame. Without it, a browser reports a broken connection.
                let _ = self.pong().await;
                Ok(Received::End)
            }
            Message::Ping(_) => Ok(Received::Ping),
            Message::Pong(_) => Ok(Received::Pong),
        }
    }

    /// Sends the pong that the library has queued. Call it before the next read, so that the pongs to a client that does not
    /// read do not accumulate.
    pub(super) async fn pong(&mut self) -> Result<(), Close> {
        tokio::time::timeout(WRITE_TIMEOUT, self.socket.flush()).await.map(drop).map_err(|_| UNRESPONSIVE)
    }

    pub(super) async fn send(&mut self, message: &ServerMessage<'_>) -> Result<(), Close> {
        let text = response::to_json(message);
        match tokio::time::timeout(WRITE_TIMEOUT, self.socket.send(Message::Text(text.into()))).await {
            // If the client has disconnected, the next read returns that.
            Ok(sent) => sent.or_else(|error| close_for(error).map_or(Ok(()), Err)),
            Err(_) => Err(UNRESPONSIVE),
        }
    }

    /// Sends the close frame. Waits up to [`CLOSE_TIMEOUT`] for the client's answer, unless the socket must close `at_once`.
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
        // A timeout of zero still sends what the socket takes without waiting.
        let _ = tokio::time::timeout(if at_once { Duration::ZERO } else { CLOSE_TIMEOUT }, handshake).await;
    }
}

/// The close code for an error that the client has caused. `None` if the client has disconnected.
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

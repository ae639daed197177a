//! One socket, from its first message to its close.

use std::{collections::HashMap, pin::pin, time::Duration};

use async_graphql::{Response, parser::types::OperationType};
use axum::extract::ws::{CloseFrame, Message, WebSocket};
use futures_util::{
    SinkExt, StreamExt,
    future::{AbortHandle, Abortable},
    stream::{self, BoxStream, SelectAll},
};
use serde_json::{Map, Value};
use tokio::sync::OwnedSemaphorePermit;

use super::{
    Place, Sockets,
    messages::{
        BAD_MESSAGE, ClientMessage, Close, FORBIDDEN, GOING_AWAY, INIT_TOO_LATE, NOT_INITIALISED, SAME_ID, SILENT,
        ServerMessage, TOO_MANY_INITS, TOO_MANY_SOCKETS,
    },
};
use crate::{
    auth,
    domain::Principal,
    error::Error,
    graphql::{
        errors,
        negotiation::is_request_error,
        request::{from_parameters, selected_operation},
    },
};

/// How long a client may take to say who it is.
const INIT_TIMEOUT: Duration = Duration::from_secs(10);
/// How often a client is asked for a sign of life; proxies cut sockets on which nothing comes.
const PING_INTERVAL: Duration = Duration::from_secs(15);
/// How long a client may give none, or take for one message.
const PEER_TIMEOUT: Duration = Duration::from_secs(45);
/// Operations under way on one socket.
const MAX_OPERATIONS: usize = 32;

/// What an operation brings: a response, or that there are no more.
type Event = (String, Option<Response>);

pub(super) struct Connection {
    socket: WebSocket,
    sockets: Sockets,
    /// The token of the handshake; browsers cannot send one there.
    token: Option<String>,
    /// Given back once the client has said who it is.
    unidentified: Option<OwnedSemaphorePermit>,
    session: Option<(Principal, Place)>,
    operations: HashMap<String, AbortHandle>,
    events: SelectAll<BoxStream<'static, Event>>,
}

impl Connection {
    pub(super) fn new(
        socket: WebSocket,
        sockets: Sockets,
        token: Option<String>,
        unidentified: OwnedSemaphorePermit,
    ) -> Self {
        let mut events = SelectAll::new();
        // Without one that never ends the set would be at its end, and asked in a circle.
        events.push(stream::pending().boxed());
        let unidentified = Some(unidentified);
        Self { socket, sockets, token, unidentified, session: None, operations: HashMap::new(), events }
    }

    pub(super) async fn run(mut self) {
        if let Err(Close(code, reason)) = self.serve().await {
            let frame = CloseFrame { code, reason: reason.into() };
            let _ = tokio::time::timeout(PEER_TIMEOUT, self.socket.send(Message::Close(Some(frame)))).await;
        }
    }

    /// Ends with `Ok` when the client is gone.
    async fn serve(&mut self) -> Result<(), Close> {
        let stopping = self.sockets.endpoint.service.stopping().clone();
        let mut late = pin!(tokio::time::sleep(INIT_TIMEOUT));
        let mut silent = pin!(tokio::time::sleep(PEER_TIMEOUT));
        let mut token_ends = pin!(futures_util::future::OptionFuture::from(None));
        let mut pings = tokio::time::interval_at(tokio::time::Instant::now() + PING_INTERVAL, PING_INTERVAL);
        loop {
            tokio::select! {
                biased;
                // First: a stream that ends because the server stops must not look complete.
                () = stopping.cancelled() => return Err(GOING_AWAY),
                Some(()) = &mut token_ends => return Err(FORBIDDEN),
                () = &mut late, if self.session.is_none() => return Err(INIT_TOO_LATE),
                () = &mut silent => return Err(SILENT),
                _ = pings.tick(), if self.session.is_some() => self.send(&ServerMessage::Ping).await?,
                Some(event) = self.events.next() => self.pass_on(event).await?,
                // Last: a client that floods the socket must not keep the times from being looked at.
                message = self.socket.recv() => {
                    let Some(Ok(message)) = message else { return Ok(()) };
                    silent.as_mut().reset(tokio::time::Instant::now() + PEER_TIMEOUT);
                    let was_open = self.session.is_some();
                    if !self.receive(message).await? {
                        return Ok(());
                    }
                    if let (false, Some(token)) = (was_open, self.token.clone().filter(|_| self.session.is_some())) {
                        let endpoint = self.sockets.endpoint.clone();
                        token_ends.set(Some(async move { endpoint.token_ends(token).await }).into());
                    }
                }
            }
        }
    }

    /// Answers whether the connection goes on.
    async fn receive(&mut self, message: Message) -> Result<bool, Close> {
        let text = match message {
            Message::Text(text) => text,
            Message::Binary(_) => return Err(BAD_MESSAGE),
            Message::Close(_) => return Ok(false),
            Message::Ping(_) => return self.flush().await.map(|()| true),
            Message::Pong(_) => return Ok(true),
        };
        match serde_json::from_str(&text).map_err(|_| BAD_MESSAGE)? {
            ClientMessage::ConnectionInit { payload } => self.init(payload.unwrap_or_default()).await?,
            ClientMessage::Ping => self.send(&ServerMessage::Pong).await?,
            ClientMessage::Pong => {}
            ClientMessage::Subscribe { id, payload } => self.subscribe(id, payload).await?,
            ClientMessage::Complete { id } => {
                if let Some(operation) = self.operations.remove(&id) {
                    operation.abort();
                }
            }
        }
        Ok(true)
    }

    /// The token comes as `Authorization: Bearer …` in the payload, or came with the handshake.
    async fn init(&mut self, payload: Map<String, Value>) -> Result<(), Close> {
        if self.session.is_some() {
            return Err(TOO_MANY_INITS);
        }
        let header = payload.iter().find(|(name, _)| name.eq_ignore_ascii_case("authorization"));
        if let Some(token) = header.and_then(|(_, value)| auth::parse_bearer(value.as_str()?)) {
            self.token = Some(token.to_owned());
        }
        let token = self.token.clone().ok_or(FORBIDDEN)?;
        let principal = self.sockets.endpoint.service.authenticate(&token).await.map_err(|_| FORBIDDEN)?;
        let place = self.sockets.enter(&principal.owner).ok_or(TOO_MANY_SOCKETS)?;
        self.session = Some((principal, place));
        self.unidentified = None;
        self.send(&ServerMessage::ConnectionAck).await
    }

    async fn subscribe(&mut self, id: String, payload: Map<String, Value>) -> Result<(), Close> {
        let Some((principal, _)) = &self.session else { return Err(NOT_INITIALISED) };
        if self.operations.contains_key(&id) {
            return Err(SAME_ID);
        }
        if !payload.contains_key("query") && !payload.contains_key("extensions") {
            return Err(BAD_MESSAGE);
        }
        let mut request = match from_parameters(payload, &self.sockets.endpoint.documents) {
            Ok(request) => request,
            Err(error) => return self.pass_on((id, Some(errors::refused(&error)))).await,
        };
        let refusal = if self.operations.len() >= MAX_OPERATIONS {
            Some(Error::too_many_operations(MAX_OPERATIONS))
        } else if selected_operation(&mut request) == Some(OperationType::Mutation) {
            Some(Error::forbidden("send mutations by POST, so that each has an answer of its own"))
        } else {
            None
        };
        if let Some(error) = refusal {
            return self.pass_on((id, Some(errors::refused(&error)))).await;
        }
        let (abort, registration) = AbortHandle::new_pair();
        let (next_id, last_id) = (id.clone(), id.clone());
        let responses = self.sockets.endpoint.execute_stream(principal.clone(), request);
        let next = responses.map(move |response| (next_id.clone(), Some(response)));
        let events = next.chain(stream::once(async move { (last_id, None) }));
        self.events.push(Abortable::new(events, registration).boxed());
        self.operations.insert(id, abort);
        Ok(())
    }

    async fn pass_on(&mut self, (id, response): Event) -> Result<(), Close> {
        let Some(response) = response else {
            if self.sockets.endpoint.service.stopping().is_cancelled() {
                return Err(GOING_AWAY);
            }
            // Already gone after an error.
            return match self.operations.remove(&id) {
                Some(_) => self.send(&ServerMessage::Complete { id: &id }).await,
                None => Ok(()),
            };
        };
        let response = errors::finished(response, None);
        if is_request_error(&response) {
            if let Some(operation) = self.operations.remove(&id) {
                operation.abort();
            }
            return self.send(&ServerMessage::Error { id: &id, payload: &response.errors }).await;
        }
        self.send(&ServerMessage::Next { id: &id, payload: &response }).await
    }

    /// Sends the pong that the library has queued before anything else is read: pongs to a client that does not read must
    /// not pile up.
    async fn flush(&mut self) -> Result<(), Close> {
        let patience = if self.session.is_some() { PEER_TIMEOUT } else { INIT_TIMEOUT };
        tokio::time::timeout(patience, self.socket.flush()).await.map(drop).map_err(|_| SILENT)
    }

    async fn send(&mut self, message: &ServerMessage<'_>) -> Result<(), Close> {
        let text = serde_json::to_string(message).unwrap_or_default();
        let sent = tokio::time::timeout(PEER_TIMEOUT, self.socket.send(Message::Text(text.into()))).await;
        // A client that is gone is noticed by the next look for its messages.
        sent.map(drop).map_err(|_| SILENT)
    }
}

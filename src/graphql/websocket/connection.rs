//! One socket, from its first message to its close.

use std::{collections::HashMap, pin::pin, time::Duration};

use async_graphql::{Response, parser::types::OperationType};
use axum::extract::ws::WebSocket;
use futures_util::{
    StreamExt,
    future::{AbortHandle, Abortable},
    stream::{self, BoxStream, SelectAll},
};
use serde_json::value::RawValue;
use tokio::time::{Instant, interval_at, sleep, timeout};

use super::{
    Place, Sockets,
    messages::{
        BAD_MESSAGE, ClientMessage, Close, FORBIDDEN, GOING_AWAY, INIT_TOO_LATE, NOT_INITIALISED, SAME_ID, SILENT,
        ServerMessage, TOO_MANY_BEFORE_INIT, TOO_MANY_INITS, TOO_MANY_SOCKETS, TRY_LATER,
    },
    strangers::Stranger,
    wire::{Heard, Wire},
};
use crate::{
    domain::Principal,
    error::{Code, Error},
    graphql::{
        errors,
        negotiation::is_request_error,
        request::{Parameters, selected_operation},
    },
};

/// How long a client may take to authenticate, and how many messages, pings included, it may send before that.
const INIT_TIMEOUT: Duration = Duration::from_secs(5);
const MOST_BEFORE_INIT: usize = 16;
/// How often a client is asked for a sign of life; proxies cut sockets on which nothing comes.
const PING_INTERVAL: Duration = Duration::from_secs(15);
/// How long a client may give none.
const PEER_TIMEOUT: Duration = Duration::from_secs(45);
/// Operations under way on one socket.
const MAX_OPERATIONS: usize = 32;

/// What an operation brings: a response, or that there are no more.
type Event = (String, Option<Response>);

pub(super) struct Connection {
    wire: Wire,
    sockets: Sockets,
    operations: HashMap<String, AbortHandle>,
    events: SelectAll<BoxStream<'static, Event>>,
}

/// The identity that a client has proved.
struct Identity {
    token: String,
    principal: Principal,
    _place: Place,
}

/// The token comes in the payload of `connection_init`, or came with the handshake.
async fn identity(sockets: &Sockets, token: Option<String>) -> Result<Identity, Close> {
    let token = token.ok_or(FORBIDDEN)?;
    let principal = sockets.endpoint.service.authenticate(&token).await.map_err(|error| {
        error.log();
        // Told that it is forbidden, a client does not come back when the database does.
        if error.code() == Code::Unauthenticated { FORBIDDEN } else { TRY_LATER }
    })?;
    let place = sockets.enter(&principal.owner).ok_or(TOO_MANY_SOCKETS)?;
    Ok(Identity { token, principal, _place: place })
}

impl Connection {
    pub(super) fn new(socket: WebSocket, sockets: Sockets) -> Self {
        let mut events = SelectAll::new();
        // Without one that never ends the set would be at its end, and asked in a circle.
        events.push(stream::pending().boxed());
        Self { wire: Wire::new(socket), sockets, operations: HashMap::new(), events }
    }

    /// Serves the socket to its end. Browsers send no token with the handshake; others may.
    pub(super) async fn run(mut self, token: Option<String>, stranger: Stranger) {
        let stopping = self.sockets.endpoint.service.stopping().clone();
        let makes_room = stranger.makes_room.clone();
        let ended = tokio::select! {
            biased;
            // First: a stream that ends because the server stops must not look complete. And whatever the socket waits for,
            // such as a client that does not read, these are not waited for.
            () = stopping.cancelled() => Err(GOING_AWAY),
            () = makes_room.cancelled() => Err(TRY_LATER),
            ended = self.serve(token, stranger) => ended,
        };
        if let Err(close) = ended {
            self.wire.close(close, makes_room.is_cancelled()).await;
        }
    }

    /// Ends with `Ok` when the client is gone.
    async fn serve(&mut self, token: Option<String>, stranger: Stranger) -> Result<(), Close> {
        let identified = timeout(INIT_TIMEOUT, self.identify(token)).await.unwrap_or(Err(INIT_TOO_LATE))?;
        let Some(identity) = identified else { return Ok(()) };
        drop(stranger);
        self.wire.say(&ServerMessage::ConnectionAck).await?;
        self.converse(&identity).await
    }

    /// `None` when the client is gone.
    async fn identify(&mut self, token: Option<String>) -> Result<Option<Identity>, Close> {
        for _ in 0..MOST_BEFORE_INIT {
            match self.wire.hear().await? {
                Heard::Message(ClientMessage::ConnectionInit(sent)) => {
                    return identity(&self.sockets, sent.or(token)).await.map(Some);
                }
                Heard::Message(ClientMessage::Subscribe { .. }) => return Err(NOT_INITIALISED),
                Heard::Message(ClientMessage::Ping) => self.wire.say(&ServerMessage::Pong).await?,
                Heard::Message(ClientMessage::Pong | ClientMessage::Complete { .. }) | Heard::Sign => {}
                Heard::Ping => self.wire.pong().await?,
                Heard::End => return Ok(None),
            }
        }
        Err(TOO_MANY_BEFORE_INIT)
    }

    async fn converse(&mut self, identity: &Identity) -> Result<(), Close> {
        let mut silent = pin!(sleep(PEER_TIMEOUT));
        let mut token_ends = pin!(self.sockets.endpoint.token_ends(identity.token.clone()));
        let mut pings = interval_at(Instant::now() + PING_INTERVAL, PING_INTERVAL);
        loop {
            tokio::select! {
                biased;
                () = &mut token_ends => return Err(FORBIDDEN),
                () = &mut silent => return Err(SILENT),
                _ = pings.tick() => self.wire.say(&ServerMessage::Ping).await?,
                Some(event) = self.events.next() => self.pass_on(event).await?,
                // Last: a client that floods the socket must not keep the times from being looked at.
                heard = self.wire.hear() => {
                    silent.as_mut().reset(Instant::now() + PEER_TIMEOUT);
                    match heard? {
                        Heard::Message(message) => self.receive(message, &identity.principal).await?,
                        Heard::Ping => self.wire.pong().await?,
                        Heard::Sign => {}
                        Heard::End => return Ok(()),
                    }
                }
            }
        }
    }

    async fn receive(&mut self, message: ClientMessage, principal: &Principal) -> Result<(), Close> {
        match message {
            ClientMessage::ConnectionInit(_) => Err(TOO_MANY_INITS),
            ClientMessage::Ping => self.wire.say(&ServerMessage::Pong).await,
            ClientMessage::Pong => Ok(()),
            ClientMessage::Subscribe { id, payload } => self.subscribe(id, &payload, principal).await,
            ClientMessage::Complete { id } => {
                if let Some(operation) = self.operations.remove(&id) {
                    operation.abort();
                }
                Ok(())
            }
        }
    }

    async fn subscribe(&mut self, id: String, payload: &RawValue, who: &Principal) -> Result<(), Close> {
        if self.operations.contains_key(&id) {
            return Err(SAME_ID);
        }
        let parameters = Parameters::read(payload.get().as_bytes());
        if parameters.as_ref().is_ok_and(|parameters| !parameters.is_request()) {
            return Err(BAD_MESSAGE);
        }
        let request = parameters.and_then(|parameters| parameters.into_request(&self.sockets.endpoint.documents));
        let mut request = match request {
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
        let responses = self.sockets.endpoint.execute_stream(who.clone(), request);
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
                Some(_) => self.wire.say(&ServerMessage::Complete { id: &id }).await,
                None => Ok(()),
            };
        };
        let response = errors::finished(response, None);
        if is_request_error(&response) {
            if let Some(operation) = self.operations.remove(&id) {
                operation.abort();
            }
            return self.wire.say(&ServerMessage::Error { id: &id, payload: &response.errors }).await;
        }
        self.wire.say(&ServerMessage::Next { id: &id, payload: &response }).await
    }
}

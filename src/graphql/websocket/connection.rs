//! One socket, from its first message to its close.
//!
//! Owns its authentication, its operations and its timers. Does not own reading and writing: that is `wire.rs`.

use std::{collections::HashMap, pin::pin, sync::Arc, time::Duration};

use async_graphql::Response;
use axum::extract::ws::WebSocket;
use futures_util::{
    StreamExt,
    future::{AbortHandle, Abortable},
    stream::{self, BoxStream, SelectAll},
};
use serde_json::value::RawValue;
use tokio::time::{Instant, interval_at, sleep, timeout};

use super::{
    Sockets,
    messages::{
        BAD_MESSAGE, ClientMessage, Close, DUPLICATE_ID, FORBIDDEN, GOING_AWAY, INIT_TIMEOUT_PASSED, NOT_INITIALISED,
        ServerMessage, TOO_MANY_BEFORE_INIT, TOO_MANY_INITS, TOO_MANY_SOCKETS, TRY_LATER, UNRESPONSIVE,
    },
    unauthenticated::Unauthenticated,
    wire::{Received, Wire},
};
use crate::{
    domain::Principal,
    error::{Code, Error},
    graphql::{errors::error_response, execute::Allowed, request::Parameters, response::is_request_error},
    http::token_end,
    service::OpenPermit,
};

/// Time in which a client must authenticate.
const INIT_TIMEOUT: Duration = Duration::from_secs(5);
/// Messages, pings included, that a client may send before it authenticates.
const MAX_MESSAGES_BEFORE_INIT: usize = 16;
/// Time between two pings of the server. Proxies close idle sockets.
const PING_INTERVAL: Duration = Duration::from_secs(15);
/// Time for which a client may send nothing, not even a pong.
const PEER_TIMEOUT: Duration = Duration::from_secs(45);
/// Active operations of one socket.
const MAX_OPERATIONS: usize = 32;

/// An operation's next response, or `None` after the last.
type Event = (String, Option<Response>);

pub(super) struct Connection {
    wire: Wire,
    sockets: Sockets,
    operations: HashMap<String, AbortHandle>,
    events: SelectAll<BoxStream<'static, Event>>,
}

/// An authenticated client.
struct Identity {
    token: String,
    principal: Principal,
    _permit: OpenPermit,
}

/// Authenticates a client by the token in the payload of `connection_init` or in the handshake.
async fn authenticate(sockets: &Sockets, token: Option<String>) -> Result<Identity, Close> {
    let token = token.ok_or(FORBIDDEN)?;
    let principal = sockets.executor.authenticate(&token).await.map_err(|error| {
        error.log();
        // Clients do not connect again after FORBIDDEN, so a failure of the database must have another code.
        if error.code() == Code::Unauthenticated { FORBIDDEN } else { TRY_LATER }
    })?;
    let permit = sockets.enter(&principal).ok_or(TOO_MANY_SOCKETS)?;
    Ok(Identity { token, principal, _permit: permit })
}

impl Connection {
    pub(super) fn new(socket: WebSocket, sockets: Sockets) -> Self {
        let mut events = SelectAll::new();
        // An empty `SelectAll` has ended, so `select!` would spin. A pending stream keeps it open.
        events.push(stream::pending().boxed());
        Self { wire: Wire::new(socket), sockets, operations: HashMap::new(), events }
    }

    /// Serves the socket to its end. Browsers send no token with the handshake; others may.
    pub(super) async fn run(mut self, token: Option<String>, unauthenticated: Unauthenticated) {
        let stopping = self.sockets.executor.shutdown.stopping().clone();
        let evicted = unauthenticated.evicted.clone();
        let ended = tokio::select! {
            biased;
            // These two come first: a stream that ends because the server stops must not look complete, and a client that
            // does not read must not delay them.
            () = stopping.cancelled() => Err(GOING_AWAY),
            () = evicted.cancelled() => Err(TRY_LATER),
            ended = self.serve(token, unauthenticated) => ended,
        };
        if let Err(close) = ended {
            self.wire.close(close, evicted.is_cancelled()).await;
        }
    }

    /// Returns `Ok` when the client has disconnected.
    async fn serve(&mut self, token: Option<String>, unauthenticated: Unauthenticated) -> Result<(), Close> {
        let identified = timeout(INIT_TIMEOUT, self.identify(token)).await.unwrap_or(Err(INIT_TIMEOUT_PASSED))?;
        let Some(identity) = identified else { return Ok(()) };
        drop(unauthenticated);
        self.wire.send(&ServerMessage::ConnectionAck).await?;
        self.run_operations(&identity).await
    }

    /// Waits for `connection_init`. `None` if the client has disconnected.
    async fn identify(&mut self, token: Option<String>) -> Result<Option<Identity>, Close> {
        for _ in 0..MAX_MESSAGES_BEFORE_INIT {
            match self.wire.receive().await? {
                Received::Message(ClientMessage::ConnectionInit(sent)) => {
                    return authenticate(&self.sockets, sent.or(token)).await.map(Some);
                }
                Received::Message(ClientMessage::Subscribe { .. }) => return Err(NOT_INITIALISED),
                Received::Message(ClientMessage::Ping) => self.wire.send(&ServerMessage::Pong).await?,
                Received::Message(ClientMessage::Pong | ClientMessage::Complete { .. }) | Received::Pong => {}
                Received::Ping => self.wire.pong().await?,
                Received::End => return Ok(None),
            }
        }
        Err(TOO_MANY_BEFORE_INIT)
    }

    async fn run_operations(&mut self, identity: &Identity) -> Result<(), Close> {
        let mut silent = pin!(sleep(PEER_TIMEOUT));
        let mut token_end = pin!(token_end(Arc::clone(&self.sockets.executor.service), identity.token.clone()));
        let mut pings = interval_at(Instant::now() + PING_INTERVAL, PING_INTERVAL);
        loop {
            tokio::select! {
                biased;
                () = &mut token_end => return Err(FORBIDDEN),
                () = &mut silent => return Err(UNRESPONSIVE),
                _ = pings.tick() => self.wire.send(&ServerMessage::Ping).await?,
                Some(event) = self.events.next() => self.forward(event).await?,
                // This branch comes last: a client that floods the socket must not starve the timers.
                received = self.wire.receive() => {
                    silent.as_mut().reset(Instant::now() + PEER_TIMEOUT);
                    match received? {
                        Received::Message(message) => self.handle(message, &identity.principal).await?,
                        Received::Ping => self.wire.pong().await?,
                        Received::Pong => {}
                        Received::End => return Ok(()),
                    }
                }
            }
        }
    }

    async fn handle(&mut self, message: ClientMessage, principal: &Principal) -> Result<(), Close> {
        match message {
            ClientMessage::ConnectionInit(_) => Err(TOO_MANY_INITS),
            ClientMessage::Ping => self.wire.send(&ServerMessage::Pong).await,
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
            return Err(DUPLICATE_ID);
        }
        let parameters = Parameters::read(payload.get().as_bytes());
        if parameters.as_ref().is_ok_and(|parameters| !parameters.is_request()) {
            return Err(BAD_MESSAGE);
        }
        if self.operations.len() >= MAX_OPERATIONS {
            return self.refuse(id, &Error::too_many_operations(MAX_OPERATIONS)).await;
        }
        let executor = &self.sockets.executor;
        let request =
            match parameters.and_then(|parameters| executor.resolve(parameters, Allowed::QueriesAndSubscriptions)) {
                Ok(request) => request,
                Err(error) => return self.refuse(id, &error).await,
            };
        let responses = executor.execute_stream(who.clone(), request, None);
        let (abort, registration) = AbortHandle::new_pair();
        let (next_id, last_id) = (id.clone(), id.clone());
        let next = responses.map(move |response| (next_id.clone(), Some(response)));
        let events = next.chain(stream::once(async move { (last_id, None) }));
        self.events.push(Abortable::new(events, registration).boxed());
        self.operations.insert(id, abort);
        Ok(())
    }

    async fn refuse(&mut self, id: String, error: &Error) -> Result<(), Close> {
        self.forward((id, Some(error_response(error)))).await
    }

    async fn forward(&mut self, (id, response): Event) -> Result<(), Close> {
        let Some(response) = response else {
            if self.sockets.executor.shutdown.stopping().is_cancelled() {
                return Err(GOING_AWAY);
            }
            // An error has ended the operation before.
            return match self.operations.remove(&id) {
                Some(_) => self.wire.send(&ServerMessage::Complete { id: &id }).await,
                None => Ok(()),
            };
        };
        if is_request_error(&response) {
            if let Some(operation) = self.operations.remove(&id) {
                operation.abort();
            }
            return self.wire.send(&ServerMessage::Error { id: &id, payload: &response.errors }).await;
        }
        self.wire.send(&ServerMessage::Next { id: &id, payload: &response }).await
    }
}

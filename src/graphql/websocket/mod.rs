//! `GET /graphql/ws`: operations over a WebSocket.
//!
//! Owns the [graphql-transport-ws protocol](https://github.com/enisdenjo/graphql-ws/blob/master/PROTOCOL.md) on the
//! server's side: who may connect, when a connection is closed and with which code. async-graphql's own implementation has
//! other codes, and no limits on sockets or operations, no pings and no end of a token.

mod connection;
mod messages;
mod unauthenticated;
mod wire;

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use async_graphql::http::WebSocketProtocols;
use axum::{
    extract::{
        State,
        ws::{WebSocketUpgrade, rejection::WebSocketUpgradeRejection},
    },
    http::{HeaderMap, Uri, header},
    response::Response,
};

use self::{connection::Connection, unauthenticated::UnauthenticatedSockets};
use super::{execute::Executor, request::MAX_REQUEST_BYTES};
use crate::{
    domain::OwnerName,
    error::Error,
    http::{self, Problem},
};

/// Sockets of one owner.
const MAX_SOCKETS_PER_OWNER: usize = 64;

/// Read and write buffer of a socket. The library's own 128 KiB each are most of what an idle socket takes.
const BUFFER_BYTES: usize = 4 * 1024;
/// Bytes that may wait to be written to a socket: the largest answer. At most one answer waits.
const MAX_UNSENT_BYTES: usize = 16 * 1024 * 1024;

/// What sockets share.
#[derive(Clone)]
pub(super) struct Sockets {
    executor: Executor,
    open: Arc<Mutex<HashMap<OwnerName, usize>>>,
    unauthenticated: UnauthenticatedSockets,
}

impl Sockets {
    pub(super) fn new(executor: Executor) -> Self {
        Self { executor, open: Arc::default(), unauthenticated: UnauthenticatedSockets::default() }
    }

    /// `None` if the owner has as many sockets as it may have.
    fn enter(&self, owner: &OwnerName) -> Option<SocketPermit> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let count = open.entry(owner.clone()).or_default();
        if *count >= MAX_SOCKETS_PER_OWNER {
            return None;
        }
        *count += 1;
        Some(SocketPermit { sockets: self.clone(), owner: owner.clone() })
    }
}

/// Browsers send a handshake as a `GET` without CORS, so a foreign page could open a socket. Origins in the settings are
/// admitted before a request comes here.
fn is_same_origin(headers: &HeaderMap) -> bool {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    let Some(origin) = text(header::ORIGIN) else { return true };
    let authority = origin.parse::<Uri>().ok().and_then(|uri| uri.authority().map(ToString::to_string));
    authority.is_some() && authority.as_deref() == text(header::HOST)
}

/// Counts an owner's socket until it is dropped.
struct SocketPermit {
    sockets: Sockets,
    owner: OwnerName,
}

impl Drop for SocketPermit {
    fn drop(&mut self) {
        let mut open = self.sockets.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = open.get_mut(&self.owner) {
            *count -= 1;
            if *count == 0 {
                open.remove(&self.owner);
            }
        }
    }
}

pub(super) async fn upgrade(
    State(sockets): State<Sockets>,
    headers: HeaderMap,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Result<Response, Problem> {
    if !is_same_origin(&headers) {
        return Err(http::foreign_origin());
    }
    if sockets.executor.shutdown.stopping().is_cancelled() {
        // hyper would send `Connection: close` in the handshake answer, which clients reject.
        return Err(Error::stopping().into());
    }
    let upgrade = upgrade.map_err(|rejection| Error::malformed(rejection.body_text()))?;
    let upgrade = upgrade.protocols([WebSocketProtocols::GraphQLWS.sec_websocket_protocol()]);
    if upgrade.selected_protocol().is_none() {
        let offer = "must offer graphql-transport-ws";
        return Err(Error::invalid("sec_websocket_protocol", offer).into());
    }
    let unauthenticated = sockets.unauthenticated.enter();
    let token = http::bearer_token(&headers).ok().map(str::to_owned);
    let upgrade = upgrade
        .max_message_size(MAX_REQUEST_BYTES)
        .max_frame_size(MAX_REQUEST_BYTES)
        .read_buffer_size(BUFFER_BYTES)
        .write_buffer_size(BUFFER_BYTES)
        .max_write_buffer_size(MAX_UNSENT_BYTES);
    Ok(upgrade.on_upgrade(async move |socket| {
        let shutdown = sockets.executor.shutdown.clone();
        shutdown.track(Connection::new(socket, sockets).run(token, unauthenticated)).await;
    }))
}

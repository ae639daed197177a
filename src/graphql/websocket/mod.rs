//! `GET /graphql/ws`: operations over a WebSocket.
//!
//! Owns the server's side of the
//! [graphql-transport-ws protocol](https://github.com/enisdenjo/graphql-ws/blob/master/PROTOCOL.md): which clients may connect,
//! when the server closes a socket, and with which code. async-graphql's own implementation lacks some of these codes, limits
//! on sockets and operations, pings from the server, and the end of a socket when its token ends.

mod connection;
mod messages;
mod unauthenticated;
mod wire;

use std::sync::Arc;

use async_graphql::http::WebSocketProtocols;
use axum::{
    extract::{
        State,
        ws::{WebSocketUpgrade, rejection::WebSocketUpgradeRejection},
    },
    http::{HeaderMap, Uri, header},
    response::Response,
};
use tracing::Instrument;

use self::{connection::Connection, unauthenticated::UnauthenticatedSockets};
use super::{execute::Executor, request::MAX_REQUEST_BYTES};
use crate::{
    domain::Principal,
    error::Error,
    http::{self, Problem},
    service::{OpenCounts, OpenPermit},
};

/// Open sockets of one owner.
const MAX_SOCKETS_PER_OWNER: u64 = 64;

/// Size of a socket's read buffer and of its write buffer. With the library's default of 128 KiB, the buffers would be most of
/// the memory of an idle socket.
const BUFFER_BYTES: usize = 4 * 1024;
/// Bytes that may wait to be written to a socket. One answer at a time waits, so this is the length of the largest one.
const MAX_UNSENT_BYTES: usize = 16 * 1024 * 1024;

/// The state that all sockets share.
#[derive(Clone)]
pub(super) struct Sockets {
    executor: Arc<Executor>,
    open: OpenCounts,
    unauthenticated: UnauthenticatedSockets,
}

impl Sockets {
    pub(super) fn new(executor: Arc<Executor>) -> Self {
        Self { executor, open: OpenCounts::default(), unauthenticated: UnauthenticatedSockets::default() }
    }

    /// A permit for one more socket. `None` if the owner has [`MAX_SOCKETS_PER_OWNER`] open sockets, or the caller with a narrow
    /// token a share of them.
    fn enter(&self, principal: &Principal) -> Option<OpenPermit> {
        self.open.permit(principal, MAX_SOCKETS_PER_OWNER).ok()
    }
}

/// Whether a handshake comes from a page of this server, or not from a page. CORS does not apply to handshakes, so a page of
/// another origin could open a socket. An earlier layer removes the `Origin` header of trusted origins (`app/origins.rs`).
fn is_same_origin(headers: &HeaderMap) -> bool {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    let Some(origin) = text(header::ORIGIN) else { return true };
    let authority = origin.parse::<Uri>().ok().and_then(|uri| uri.authority().map(ToString::to_string));
    authority.is_some() && authority.as_deref() == text(header::HOST)
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
    let span = tracing::Span::current();
    Ok(upgrade.on_upgrade(async move |socket| {
        let shutdown = sockets.executor.shutdown.clone();
        shutdown.track(Connection::new(socket, sockets).run(token, unauthenticated)).instrument(span).await;
    }))
}

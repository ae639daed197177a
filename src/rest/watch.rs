//! `/uploads/sessions/{id}/events`, `/uploads/events`, and waiting for a new status.
//!
//! Owns the ways to follow sessions by REST: streams of server-sent events, and a long poll
//! (`Prefer: wait`, [RFC 7240](https://www.rfc-editor.org/rfc/rfc7240#section-4.3)). Does not own the states: those are in
//! `service/watch`.

use std::{sync::Arc, time::Duration};

use axum::{
    Extension,
    extract::State,
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode},
    response::{IntoResponse, Response, sse::Event},
};
use futures_util::{Stream, StreamExt, future::ready, stream};
use tokio::time::timeout;

use super::bodies::session_json;
use crate::{
    domain::{Principal, SessionId, SessionState},
    error::{Error, Result},
    http::{Caller, Problem, SessionPath, Shutdown, UploadCaller, bearer_token, event_stream, openapi, token_end},
    service::{AnySessionState, Service},
};

const LAST_EVENT_ID: &str = "last-event-id";
const PREFER: &str = "prefer";
const PREFERENCE_APPLIED: HeaderName = HeaderName::from_static("preference-applied");
/// Longest wait for a new status. Proxies end requests that take longer.
const MAX_WAIT_SECONDS: u64 = 60;

/// Follow a session
///
/// A stream of server-sent events: the present state at once, and then the new state after each change, until the session has ended.
/// The `data` of each event is a `Session`, and its `id` is the session's `version`. A client that connects again sends the id of its
/// last event, and gets only newer states.
#[utoipa::path(
    get, path = "/uploads/sessions/{id}/events", operation_id = "watchSession", tag = "sessions",
    params(SessionPath, openapi::LastEventId),
    responses(
        (status = 200, description = "The states of the session.", content_type = "text/event-stream",
            headers(("Cache-Control"))),
        (status = 204, description = "The session has ended, and you have its last state."),
    ),
    security(("bearer" = []), ("upload_token" = [])),
)]
pub(super) async fn stream_one(
    State(service): State<Arc<Service>>,
    Extension(shutdown): Extension<Shutdown>,
    UploadCaller { principal, token }: UploadCaller,
    SessionPath(id): SessionPath,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let seen = last_event_id(&headers);
    let session = service.state(&principal, id).await?.session;
    if !session.status.is_open() && seen == Some(session.version) {
        // The client has the last state. After this status, `EventSource` does not connect again.
        return Ok(StatusCode::NO_CONTENT.into_response());
    }
    let states = service.watch(&principal, id).await?;
    let newer = until_error(states).skip_while(move |state| ready(seen == Some(state.session.version)));
    let events = newer.map(|state| event(state.session.version, &state));
    let token_end = token_end(service, token);
    Ok(event_stream(events, shutdown.stopping().clone(), token_end))
}

/// Follow all sessions
///
/// A stream of server-sent events: the present state of each open session, and then the new state of any session after each change. The
/// `data` of each event is a `Session`, and its `id` is a position in the feed of events. A client that connects again sends the id of
/// its last event. It gets the open sessions again, and those that have ended meanwhile.
#[utoipa::path(
    get, path = "/uploads/events", operation_id = "watchSessions", tag = "sessions",
    params(openapi::LastEventId),
    responses(
        (status = 200, description = "The states of your sessions.", content_type = "text/event-stream",
            headers(("Cache-Control"))),
    ),
)]
pub(super) async fn stream_all(
    State(service): State<Arc<Service>>,
    Extension(shutdown): Extension<Shutdown>,
    Caller(principal): Caller,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let token = bearer_token(&headers)?.to_owned();
    let (position, states) = service.watch_all(&principal, last_event_id(&headers)).await?;
    let events = until_error(states).map(|AnySessionState { state, position }| event(position, &state));
    // Without data: a client whose connection breaks before the first state connects again with this id.
    let begin = stream::once(ready(Event::default().id(position.to_string())));
    let token_end = token_end(service, token);
    Ok(event_stream(begin.chain(events), shutdown.stopping().clone(), token_end))
}

/// The states before the first error. The client then connects again, and gets the error as the answer.
fn until_error<T, E>(states: impl Stream<Item = Result<T, E>>) -> impl Stream<Item = T> {
    states.map(Result::ok).take_while(|state| ready(state.is_some())).filter_map(ready)
}

/// The id of the last event that the client has. Ignores an id that no stream of this server has sent.
fn last_event_id(headers: &HeaderMap) -> Option<u64> {
    headers.get(LAST_EVENT_ID)?.to_str().ok()?.parse().ok()
}

fn event(id: u64, state: &SessionState) -> Event {
    Event::default().id(id.to_string()).data(String::from_utf8_lossy(&session_json(state)))
}

/// A client's wish to wait for a new status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Wait {
    seconds: u64,
}

impl Wait {
    /// Reads `Prefer: wait=N`. Ignores other preferences, and a malformed one, as the RFC demands.
    pub(super) fn read(headers: &HeaderMap) -> Option<Self> {
        let values = headers.get_all(PREFER).iter().filter_map(|value| value.to_str().ok());
        let mut preferences = values.flat_map(|value| value.split(',')).filter_map(|preference| {
            let (name, value) = preference.split(';').next()?.split_once('=')?;
            name.trim().eq_ignore_ascii_case("wait").then(|| value.trim().trim_matches('"').parse::<u64>().ok())
        });
        let seconds = preferences.next()??;
        Some(Self { seconds: seconds.min(MAX_WAIT_SECONDS) })
    }

    /// Waits until the session has another version than `known`, or the time is up, or the server stops. Fails when the caller's
    /// token is no longer valid.
    pub(super) async fn for_change(
        self,
        service: &Arc<Service>,
        (principal, token): (&Principal, String),
        id: SessionId,
        known: u64,
        shutdown: &Shutdown,
    ) -> Result<()> {
        let change = service.wait_for_version_change(principal, id, known);
        let in_time = timeout(Duration::from_secs(self.seconds), change);
        tokio::select! {
            changed = in_time => changed.unwrap_or(Ok(())),
            () = shutdown.stopping().cancelled() => Ok(()),
            () = token_end(Arc::clone(service), token) => Err(Error::unauthenticated()),
        }
    }

    /// The header that tells the client how long the server was ready to wait.
    pub(super) fn applied(self) -> (HeaderName, HeaderValue) {
        let value = HeaderValue::try_from(format!("wait={}", self.seconds)).expect("digits are printable");
        (PREFERENCE_APPLIED, value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_is_found_among_other_preferences_and_bounded() {
        let read = |value: &str| {
            let headers =
                HeaderMap::from_iter([(HeaderName::from_static(PREFER), HeaderValue::from_str(value).unwrap())]);
            Wait::read(&headers).map(|wait| wait.seconds)
        };
        assert_eq!(read("wait=10"), Some(10));
        assert_eq!(read("respond-async, Wait = 10; foo=bar"), Some(10));
        assert_eq!(read("wait=\"7\""), Some(7));
        assert_eq!(read("wait=9999"), Some(60));
        for none in ["", "wait", "wait=", "wait=-1", "wait=1.5", "return=minimal", "waiting=3"] {
            assert_eq!(read(none), None, "{none}");
        }
    }
}

//! The subscriptions.

use std::{
    collections::HashMap,
    sync::{Arc, Weak},
};

use async_graphql::{Context, ID, Subscription};
use futures_util::{Stream, StreamExt};
use parking_lot::Mutex;

use super::{errors::ApiError, loaders::Loaders, objects::UploadSession, scope::Scope, time_limit::TimeLimited};
use crate::{
    domain::{Session, SessionId},
    error::{Error, Result},
};

/// Streams of changes.
#[derive(Default)]
pub(crate) struct Subscription {
    states: StateLoaders,
}

/// The loaders of the current states. All subscriptions to a session belong to its owner and get the same state, so they share
/// its loaders.
#[derive(Clone, Default)]
struct StateLoaders(Arc<Mutex<HashMap<SessionId, StateEntry>>>);

/// A state and its loaders.
type StateEntry = (Weak<Session>, Arc<Loaders>);

impl StateLoaders {
    /// The loaders of this state. Loaders cache their values, so every state has its own.
    fn of(&self, state: &Arc<Session>, new: impl FnOnce() -> Loaders) -> Arc<Loaders> {
        let mut entries = self.0.lock();
        if let Some((known, loaders)) = entries.get(&state.id)
            && std::ptr::eq(known.as_ptr(), Arc::as_ptr(state))
        {
            return Arc::clone(loaders);
        }
        // Remove the states that no subscription holds any more before the map grows.
        if entries.len() == entries.capacity() {
            entries.retain(|_, (state, _)| state.strong_count() > 0);
        }
        let loaders = Arc::new(new());
        entries.insert(state.id, (Arc::downgrade(state), Arc::clone(&loaders)));
        loaders
    }
}

/// The stream, if the server begins it within the time limit of the request.
async fn in_time<T>(scope: &Scope, begun: impl Future<Output = Result<T>>) -> Result<T, ApiError> {
    let begun = tokio::time::timeout(scope.timeout, begun).await;
    begun.unwrap_or_else(|_| Err(Error::too_slow(scope.timeout))).map_err(ApiError::from)
}

/// Streams of changes.
#[Subscription]
impl Subscription {
    /// One of your sessions: its current state at once, then the new state after each change, at most ten times a second,
    /// until the session has ended. A slow reader misses states in between, but never the last one.
    async fn upload_session(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The session's id.")] id: ID,
    ) -> async_graphql::Result<impl Stream<Item = async_graphql::Result<TimeLimited<UploadSession>>> + use<>> {
        let scope = Arc::clone(Scope::of(ctx));
        let id = id.parse().map_err(|_| ApiError::from(Error::not_found("session")))?;
        let states = in_time(&scope, scope.service.watch(&scope.principal, id)).await?;
        let shared = self.states.clone();
        Ok(states.map(move |state| {
            let state = state.map_err(ApiError::from)?;
            let new = || Loaders::new(Arc::clone(&scope.service), scope.principal.clone());
            let scope = scope.of_event(shared.of(&state.session, new));
            let limit = scope.timeout;
            Ok(TimeLimited { value: UploadSession::of_state(state, &scope), limit })
        }))
    }

    /// All of your sessions: the current state of each open session at once, oldest first, then the new state of any session after
    /// each change: when it is created, when parts arrive, when it ends, and when its file is deleted. At most ten times a
    /// second, and without an end. A state may come twice; compare `version`. After a break, `events` has the ends that you
    /// missed.
    async fn upload_session_changed(
        &self,
        ctx: &Context<'_>,
    ) -> async_graphql::Result<impl Stream<Item = async_graphql::Result<TimeLimited<UploadSession>>> + use<>> {
        let scope = Arc::clone(Scope::of(ctx));
        let (_, states) = in_time(&scope, scope.service.watch_all(&scope.principal, None)).await?;
        Ok(states.map(move |changed| {
            let state = changed.map_err(ApiError::from)?.state;
            let loaders = Arc::new(Loaders::new(Arc::clone(&scope.service), scope.principal.clone()));
            let scope = scope.of_event(loaders);
            let limit = scope.timeout;
            Ok(TimeLimited { value: UploadSession::of_state(state, &scope), limit })
        }))
    }
}

//! The subscription.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError, Weak},
};

use async_graphql::{Context, ID, Subscription};
use futures_util::{Stream, StreamExt};

use super::{budget::AnswerLimit, errors::ApiError, loaders::Loaders, objects::UploadSession};
use crate::{
    domain::{Principal, Session, SessionId},
    error::Error,
    service::Service,
};

/// Streams of changes.
#[derive(Default)]
pub(crate) struct Subscription {
    states: StateLoaders,
}

/// Loaders of the states that are followed. All subscriptions to a session belong to its owner and get the same state,
/// so one load serves them all.
#[derive(Clone, Default)]
struct StateLoaders(Arc<Mutex<HashMap<SessionId, OfState>>>);

/// A state, and what loads for it.
type OfState = (Weak<Session>, Arc<Loaders>);

impl StateLoaders {
    /// Those of this state. Loaders keep what they loaded, so every state has its own.
    fn of(&self, state: &Arc<Session>, new: impl FnOnce() -> Loaders) -> Arc<Loaders> {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((known, loaders)) = known.get(&state.id)
            && std::ptr::eq(known.as_ptr(), Arc::as_ptr(state))
        {
            return Arc::clone(loaders);
        }
        // States that nobody has any more go before the map grows.
        if known.len() == known.capacity() {
            known.retain(|_, (state, _)| state.strong_count() > 0);
        }
        let loaders = Arc::new(new());
        known.insert(state.id, (Arc::downgrade(state), Arc::clone(&loaders)));
        loaders
    }
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
    ) -> async_graphql::Result<impl Stream<Item = async_graphql::Result<UploadSession>> + use<>> {
        let service = Arc::clone(ctx.data_unchecked::<Arc<Service>>());
        let principal = ctx.data_unchecked::<Principal>().clone();
        let limit = ctx.data_unchecked::<AnswerLimit>().clone();
        let id = id.parse().map_err(|_| Error::not_found("session"));
        let states = service.watch(&principal, id.map_err(ApiError::from)?).await.map_err(ApiError::from)?;
        let loaders = self.states.clone();
        Ok(states.map(move |state| {
            let state = state.map_err(ApiError::from)?;
            let new = || Loaders::new(Arc::clone(&service), principal.clone());
            let loaders = loaders.of(&state.session, new);
            Ok(UploadSession::from(state).with_own(loaders, limit.budget()))
        }))
    }
}

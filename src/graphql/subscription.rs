//! The subscription.

use std::sync::Arc;

use async_graphql::{Context, ID, Subscription};
use futures_util::{Stream, StreamExt};

use super::{errors::ApiError, loaders::Loaders, objects::UploadSession};
use crate::{
    domain::{Principal, SessionId, parse_id},
    error::Error,
    service::Service,
};

/// What can be followed.
pub(crate) struct Subscription;

/// What can be followed.
#[Subscription]
impl Subscription {
    /// One of your sessions: its state now, then after every change, at most ten times a second, until it has ended. A
    /// reader that is slow misses states in between, never the last.
    async fn upload_session(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The session's id.")] id: ID,
    ) -> async_graphql::Result<impl Stream<Item = async_graphql::Result<UploadSession>> + use<>> {
        let service = Arc::clone(ctx.data_unchecked::<Arc<Service>>());
        let principal = ctx.data_unchecked::<Principal>().clone();
        let id = parse_id(id.as_str()).map(SessionId).ok_or_else(|| Error::not_found("session"));
        let states = service.watch(&principal, id.map_err(ApiError::from)?).await.map_err(ApiError::from)?;
        Ok(states.map(move |state| {
            // Loaders keep what they loaded, so every state has its own.
            let loaders = Loaders::new(Arc::clone(&service), principal.clone());
            let session = state.map(|state| UploadSession::from(state).with_loaders(loaders));
            session.map_err(|error| ApiError::from(error).into())
        }))
    }
}

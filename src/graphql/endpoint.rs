//! Executing what was read, the same over every transport.
//!
//! Owns the limits on a document, the loaders of a request, and how long a token opens a stream.

use std::{sync::Arc, time::Duration};

use async_graphql::{Request, Response};
use futures_util::{Stream, StreamExt, stream};

use super::{Schema, errors, limits, loaders::Loaders};
use crate::{config::GraphqlSettings, domain::Principal, error::Error, service::Service};

/// How often it is looked whether the token of a stream still works.
const TOKEN_INTERVAL: Duration = Duration::from_secs(5);

/// The schema, and what it may be asked.
#[derive(Clone)]
pub(super) struct Endpoint {
    pub(super) service: Arc<Service>,
    schema: Schema,
    settings: GraphqlSettings,
}

impl Endpoint {
    pub(super) fn new(service: Arc<Service>, settings: GraphqlSettings) -> Self {
        let schema = super::schema(Arc::clone(&service), &settings);
        Self { service, schema, settings }
    }

    /// Executes a query or a mutation.
    pub(super) async fn execute(&self, principal: Principal, mut request: Request) -> Response {
        if let Err(error) = limits::check(&mut request, &self.settings) {
            return errors::refused(&error);
        }
        let execution = self.schema.execute(self.with_data(principal, request));
        match tokio::time::timeout(self.settings.timeout, execution).await {
            Ok(response) => response,
            Err(_) => errors::refused(&Error::too_slow(self.settings.timeout)),
        }
    }

    /// Executes any operation; a subscription has many responses.
    pub(super) fn execute_stream(
        &self,
        principal: Principal,
        mut request: Request,
    ) -> impl Stream<Item = Response> + Send + use<> {
        match limits::check(&mut request, &self.settings) {
            Ok(()) => self.schema.execute_stream(self.with_data(principal, request)),
            Err(error) => stream::iter([errors::refused(&error)]).boxed(),
        }
    }

    /// Ends when the token does, to within a few seconds.
    pub(super) fn token_ends(&self, token: String) -> impl Future<Output = ()> + Send + use<> {
        let service = Arc::clone(&self.service);
        async move {
            while service.authenticate(&token).await.is_ok() {
                tokio::time::sleep(TOKEN_INTERVAL).await;
            }
        }
    }

    fn with_data(&self, principal: Principal, request: Request) -> Request {
        let loaders = Loaders::new(Arc::clone(&self.service), principal.clone());
        request.data(principal).data(loaders)
    }
}

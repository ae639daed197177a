//! What the resolvers of one answer share.
//!
//! Owns the one value that a request brings to its resolvers: who asks, what loads for them, how long the answer may
//! become, and how long it may take.

use std::{sync::Arc, time::Duration};

use async_graphql::Context;

use super::{budget::Budget, loaders::Loaders};
use crate::{domain::Principal, service::Service};

pub(crate) struct Scope {
    pub(super) service: Arc<Service>,
    pub(super) principal: Principal,
    pub(super) loaders: Arc<Loaders>,
    pub(super) budget: Arc<Budget>,
    pub(super) timeout: Duration,
}

impl Scope {
    /// The scope of a request.
    pub(super) fn new(service: Arc<Service>, principal: Principal, budget: Arc<Budget>, timeout: Duration) -> Self {
        let loaders = Arc::new(Loaders::new(Arc::clone(&service), principal.clone()));
        Self { service, principal, loaders, budget, timeout }
    }

    /// The scope of an event: it loads by itself, and has a budget of its own.
    pub(super) fn of_event(&self, loaders: Arc<Loaders>) -> Arc<Self> {
        Arc::new(Self {
            service: Arc::clone(&self.service),
            principal: self.principal.clone(),
            loaders,
            budget: self.budget.renewed(),
            timeout: self.timeout,
        })
    }

    /// The scope of the request that is being executed.
    pub(super) fn of<'a>(ctx: &Context<'a>) -> &'a Arc<Self> {
        ctx.data_unchecked()
    }
}

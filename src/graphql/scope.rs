//! The state that the resolvers of one answer share.
//!
//! Owns the one value that async-graphql passes to them: the caller, the loaders, the length budget and the time limit.

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

    /// The scope of an event of a subscription, with these loaders and a new budget.
    pub(super) fn of_event(&self, loaders: Arc<Loaders>) -> Arc<Self> {
        Arc::new(Self {
            service: Arc::clone(&self.service),
            principal: self.principal.clone(),
            loaders,
            budget: self.budget.renewed(),
            timeout: self.timeout,
        })
    }

    /// The scope of the current request.
    pub(super) fn of<'a>(ctx: &Context<'a>) -> &'a Arc<Self> {
        ctx.data_unchecked()
    }
}

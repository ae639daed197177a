//! The execution of a request, the same over every transport.
//!
//! Owns the order of the steps: (1) authenticate the caller, (2) resolve the document, (3) check its limits, (4) execute it
//! within the time limit, (5) finish the response. HTTP and server-sent events take every step for each request. A WebSocket
//! authenticates once.

use std::{future::ready, sync::Arc};

use async_graphql::{Request, Response, ValidationMode, parser::types::OperationType};
use futures_util::{
    StreamExt,
    stream::{self, BoxStream},
};
use tower_http::request_id::RequestId;

use super::{
    GraphqlSettings, Schema,
    budget::AnswerLimit,
    document_cache::{DocumentCache, selected_operation},
    errors::error_response,
    limits, literals, nesting,
    persisted_documents::PersistedDocuments,
    request::Parameters,
    response::{finish, is_request_error},
    scope::Scope,
    time_limit::with_time_limit,
};
use crate::{
    domain::Principal,
    error::{Error, Result},
    http::{PublicUrl, Shutdown},
    service::Service,
};

/// Executes requests.
pub(super) struct Executor {
    pub(super) service: Arc<Service>,
    pub(super) shutdown: Shutdown,
    schema: Schema,
    /// The same schema, for documents from the cache. It skips the validation.
    prevalidated: Schema,
    persisted: PersistedDocuments,
    document_cache: DocumentCache,
    settings: GraphqlSettings,
    limit: AnswerLimit,
}

/// The operations that a transport allows.
#[derive(Clone, Copy, Debug)]
pub(super) enum Allowed {
    All,
    /// For `GET`: a page of another origin can make a browser send one.
    Queries,
    /// For WebSockets: if the socket broke, the client would not know whether its mutation succeeded.
    QueriesAndSubscriptions,
}

/// A request with its document.
pub(super) struct Resolved {
    request: Request,
    /// Whether its document comes from the cache, so that it has passed every check.
    is_cached: bool,
}

/// The answer to a query or a mutation.
pub(super) struct Answer {
    pub(super) response: Response,
    /// Whether serializing it takes long enough to delay other requests.
    pub(super) is_long: bool,
}

impl From<Response> for Answer {
    fn from(response: Response) -> Self {
        Self { response, is_long: false }
    }
}

impl Executor {
    pub(super) fn new(
        service: Arc<Service>,
        shutdown: Shutdown,
        settings: GraphqlSettings,
        persisted: PersistedDocuments,
        public_url: &PublicUrl,
    ) -> Self {
        let schema = super::schema(&settings, public_url, ValidationMode::Strict);
        let prevalidated = super::schema(&settings, public_url, ValidationMode::Fast);
        let limit = AnswerLimit::new(settings.max_response_bytes.0);
        Self {
            service,
            shutdown,
            schema,
            prevalidated,
            persisted,
            document_cache: DocumentCache::default(),
            settings,
            limit,
        }
    }

    /// Step 1: authenticates the caller.
    pub(super) async fn authenticate(&self, token: &str) -> Result<Principal> {
        self.service.authenticate(token).await
    }

    /// Step 2: resolves the document that the client sent, or whose hash it sent, and refuses one that the parser must not see,
    /// or an operation that the transport does not allow.
    pub(super) fn resolve(&self, parameters: Parameters, allowed: Allowed) -> Result<Resolved> {
        let mut request = parameters.into_request(&self.persisted)?;
        let is_cached = self.document_cache.apply(&mut request);
        if !is_cached {
            nesting::check(&request.query)?;
            literals::check(&request.query)?;
        }
        allowed.check(&mut request)?;
        Ok(Resolved { request, is_cached })
    }

    /// Steps 3 to 5 for a query or a mutation.
    pub(super) async fn execute(&self, principal: Principal, resolved: Resolved, id: Option<&RequestId>) -> Answer {
        let Answer { response, is_long } = match self.check(resolved) {
            Ok(checked) => self.run(principal, checked).await,
            Err(error) => error_response(&error).into(),
        };
        Answer { response: finish(response, id), is_long }
    }

    /// Steps 3 to 5 for any operation. A subscription has many responses.
    pub(super) fn execute_stream(
        self: &Arc<Self>,
        principal: Principal,
        resolved: Resolved,
        id: Option<RequestId>,
    ) -> BoxStream<'static, Response> {
        let responses = match self.check(resolved) {
            Ok(checked) => self.run_stream(principal, checked),
            Err(error) => stream::once(ready(error_response(&error))).boxed(),
        };
        responses.map(move |response| finish(response, id.as_ref())).boxed()
    }

    /// Step 3: checks the limits of a document. A document from the cache has passed them before.
    fn check(&self, mut resolved: Resolved) -> Result<Resolved> {
        if !resolved.is_cached {
            limits::check(&mut resolved.request, &self.settings)?;
        }
        Ok(resolved)
    }

    /// Step 4 for a query or a mutation. An answer over the length limit becomes one error without data.
    async fn run(&self, principal: Principal, Resolved { mut request, is_cached }: Resolved) -> Answer {
        let scope = self.scope(principal);
        let candidate = if is_cached { None } else { DocumentCache::candidate(&mut request) };
        let execution = self.schema(is_cached).execute(request.data(Arc::clone(&scope)));
        let response = with_time_limit(self.settings.timeout, execution).await;
        if let Some(candidate) = candidate.filter(|_| !is_request_error(&response)) {
            self.document_cache.insert(candidate);
        }
        if scope.budget.is_exceeded() {
            return error_response(&self.limit.exceeded()).into();
        }
        Answer { response, is_long: scope.budget.is_long() }
    }

    /// Step 4 for any operation. A subscription has no time limit, but each of its events has the limit of a query.
    fn run_stream(self: &Arc<Self>, principal: Principal, mut checked: Resolved) -> BoxStream<'static, Response> {
        if selected_operation(&mut checked.request) == Some(OperationType::Subscription) {
            let scope = self.scope(principal);
            return self.schema(checked.is_cached).execute_stream(checked.request.data(scope)).boxed();
        }
        let executor = Arc::clone(self);
        stream::once(async move { executor.run(principal, checked).await.response }).boxed()
    }

    fn schema(&self, is_cached: bool) -> &Schema {
        if is_cached { &self.prevalidated } else { &self.schema }
    }

    fn scope(&self, principal: Principal) -> Arc<Scope> {
        let (service, timeout) = (Arc::clone(&self.service), self.settings.timeout);
        Arc::new(Scope::new(service, principal, self.limit.budget(), timeout))
    }

    /// The length limit of an answer.
    pub(super) fn limit(&self) -> &AnswerLimit {
        &self.limit
    }
}

impl Allowed {
    /// Refuses an operation that the transport does not allow. A document without a selected operation passes: the execution
    /// refuses it with a better error.
    fn check(self, request: &mut Request) -> Result<()> {
        match self {
            Self::All => Ok(()),
            Self::Queries => match selected_operation(request) {
                None | Some(OperationType::Query) => Ok(()),
                Some(_) => Err(Error::method_not_allowed("GET allows only queries; send mutations by POST")),
            },
            Self::QueriesAndSubscriptions => match selected_operation(request) {
                Some(OperationType::Mutation) => {
                    Err(Error::forbidden("a WebSocket does not allow mutations; send them by POST"))
                }
                _ => Ok(()),
            },
        }
    }
}

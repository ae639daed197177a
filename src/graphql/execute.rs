//! The execution of a request, the same over every transport.
//!
//! Owns the order of the steps: (1) authenticate the caller, (2) resolve the document, (3) check its limits, (4) execute it
//! within the time limit, or take the answer that is kept, (5) finish the response. HTTP and server-sent events take every step for each request. A WebSocket
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
    document_cache::{CachedDocument, DocumentCache, selected_operation},
    errors::error_response,
    limits, literals, nesting,
    persisted_documents::PersistedDocuments,
    request::Parameters,
    response::{finish, is_request_error},
    scope::Scope,
    state_query::AnswerPlace,
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
    /// Its document, if that comes from the cache: then it has passed every check.
    cached: Option<Arc<CachedDocument>>,
}

impl Resolved {
    /// The type of the selected operation, if there is one.
    fn operation_type(&mut self) -> Option<OperationType> {
        match &self.cached {
            Some(cached) => Some(cached.operation_type),
            None => selected_operation(&mut self.request),
        }
    }
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
        let cached = self.document_cache.get(&mut request);
        if cached.is_none() {
            nesting::check(&request.query)?;
            literals::check(&request.query)?;
        }
        let mut resolved = Resolved { request, cached };
        allowed.check(&mut resolved)?;
        Ok(resolved)
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
        if resolved.cached.is_none() {
            limits::check(&mut resolved.request, &self.settings)?;
        }
        Ok(resolved)
    }

    /// Step 4 for a query or a mutation. An answer over the length limit becomes one error without data.
    async fn run(&self, principal: Principal, Resolved { mut request, cached }: Resolved) -> Answer {
        let scope = self.scope(principal);
        let candidate = if cached.is_none() { DocumentCache::candidate(&mut request) } else { None };
        let response = self.respond(request, cached.as_deref(), &scope);
        let response = with_time_limit(self.settings.timeout, response).await;
        if let Some(candidate) = candidate.filter(|_| !is_request_error(&response)) {
            self.document_cache.insert(candidate);
        }
        if scope.budget.is_exceeded() {
            return error_response(&self.limit.exceeded()).into();
        }
        Answer { response, is_long: scope.budget.is_long() }
    }

    /// The answer that is kept with the state of a session, or that of an execution.
    async fn respond(&self, request: Request, cached: Option<&CachedDocument>, scope: &Arc<Scope>) -> Response {
        let place = match cached.and_then(|cached| cached.state_query.as_ref()) {
            Some(query) => query.place(&request.variables, scope).await,
            None => None,
        };
        if let Some(kept) = place.as_ref().and_then(AnswerPlace::kept) {
            return kept;
        }
        let (schema, request) = self.prepare(request, cached, scope);
        let response = schema.execute(request).await;
        if let Some(place) = place {
            place.keep(&response);
        }
        response
    }

    /// Step 4 for any operation. A subscription has no time limit, but each of its events has the limit of a query.
    fn run_stream(self: &Arc<Self>, principal: Principal, mut checked: Resolved) -> BoxStream<'static, Response> {
        if checked.operation_type() == Some(OperationType::Subscription) {
            let (schema, request) = self.prepare(checked.request, checked.cached.as_deref(), &self.scope(principal));
            return schema.execute_stream(request).boxed();
        }
        let executor = Arc::clone(self);
        stream::once(async move { executor.run(principal, checked).await.response }).boxed()
    }

    /// The schema that executes a request, and the request with its document and scope.
    fn prepare(&self, mut request: Request, cached: Option<&CachedDocument>, scope: &Arc<Scope>) -> (&Schema, Request) {
        let schema = if let Some(cached) = cached {
            request.set_parsed_query(cached.document.clone());
            &self.prevalidated
        } else {
            &self.schema
        };
        (schema, request.data(Arc::clone(scope)))
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
    fn check(self, resolved: &mut Resolved) -> Result<()> {
        match self {
            Self::All => Ok(()),
            Self::Queries => match resolved.operation_type() {
                None | Some(OperationType::Query) => Ok(()),
                Some(_) => Err(Error::method_not_allowed("GET allows only queries; send mutations by POST")),
            },
            Self::QueriesAndSubscriptions => match resolved.operation_type() {
                Some(OperationType::Mutation) => {
                    Err(Error::forbidden("a WebSocket does not allow mutations; send them by POST"))
                }
                _ => Ok(()),
            },
        }
    }
}

//! A request's way through GraphQL, the same over every transport.
//!
//! Owns the order of the steps: authenticate the caller, resolve the document, check it, execute it within its time limit,
//! finish the answer. HTTP and server-sent events take every step for each request; a WebSocket authenticates once.

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
    limits,
    persisted_documents::PersistedDocuments,
    request::Parameters,
    response::{finish, is_request_error},
    scope::Scope,
    time_limit::with_time_limit,
};
use crate::{
    domain::Principal,
    error::{Error, Result},
    http::Shutdown,
    service::Service,
};

/// The schema, and what it may be asked.
#[derive(Clone)]
pub(super) struct Executor {
    pub(super) service: Arc<Service>,
    pub(super) shutdown: Shutdown,
    schema: Schema,
    /// The same schema, for documents that are known to be valid.
    prevalidated: Schema,
    persisted: PersistedDocuments,
    document_cache: DocumentCache,
    settings: GraphqlSettings,
    limit: AnswerLimit,
}

/// The operations that a transport allowed.
#[derive(Clone, Copy, Debug)]
pub(super) enum Allowed {
    All,
    /// A foreign page can make a browser send a `GET`.
    Queries,
    /// A socket that breaks would leave the client without the answer to its mutation.
    QueriesAndSubscriptions,
}

/// A request that may be executed.
struct CheckedRequest {
    request: Request,
    /// Whether its document was found valid before.
    is_cached: bool,
}

/// The answer to a query or a mutation.
pub(super) struct Answer {
    pub(super) response: Response,
    /// Whether writing it takes long enough for others to notice.
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
    ) -> Self {
        let schema = super::schema(&settings, ValidationMode::Strict);
        let prevalidated = super::schema(&settings, ValidationMode::Fast);
        let limit = AnswerLimit::new(settings.max_response_bytes.0);
        Self { service, shutdown, schema, prevalidated, persisted, document_cache: DocumentCache::default(), settings, limit }
    }

    /// Step 1: who asks.
    pub(super) async fn authenticate(&self, token: &str) -> Result<Principal> {
        self.service.authenticate(token).await
    }

    /// Step 2: the document that the client sent or named, if the transport takes its operation.
    pub(super) fn resolve(&self, parameters: Parameters, allowed: Allowed) -> Result<Request> {
        let mut request = parameters.into_request(&self.persisted)?;
        allowed.check(&mut request)?;
        Ok(request)
    }

    /// Steps 3 to 5 for a query or a mutation.
    pub(super) async fn execute(&self, principal: Principal, request: Request, id: Option<&RequestId>) -> Answer {
        let Answer { response, is_long } = match self.check(request) {
            Ok(checked) => self.run(principal, checked).await,
            Err(error) => error_response(&error).into(),
        };
        Answer { response: finish(response, id), is_long }
    }

    /// Steps 3 to 5 for any operation. A subscription has many responses.
    pub(super) fn execute_stream(
        &self,
        principal: Principal,
        request: Request,
        id: Option<RequestId>,
    ) -> BoxStream<'static, Response> {
        let responses = match self.check(request) {
            Ok(checked) => self.run_stream(principal, checked),
            Err(error) => stream::once(ready(error_response(&error))).boxed(),
        };
        responses.map(move |response| finish(response, id.as_ref())).boxed()
    }

    /// Step 3: the limits on a document, unless it passed them before.
    fn check(&self, mut request: Request) -> Result<CheckedRequest> {
        let is_cached = self.document_cache.apply(&mut request);
        if !is_cached {
            limits::check(&mut request, &self.settings)?;
        }
        Ok(CheckedRequest { request, is_cached })
    }

    /// Step 4. An answer that would be too long is refused whole.
    async fn run(&self, principal: Principal, CheckedRequest { mut request, is_cached }: CheckedRequest) -> Answer {
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

    /// Step 4 for any operation. A subscription lasts, and each of its events has the time limit of a query.
    fn run_stream(&self, principal: Principal, mut checked: CheckedRequest) -> BoxStream<'static, Response> {
        if selected_operation(&mut checked.request) == Some(OperationType::Subscription) {
            return self.schema(checked.is_cached).execute_stream(checked.request.data(self.scope(principal))).boxed();
        }
        let executor = self.clone();
        stream::once(async move { executor.run(principal, checked).await.response }).boxed()
    }

    fn schema(&self, is_cached: bool) -> &Schema {
        if is_cached { &self.prevalidated } else { &self.schema }
    }

    fn scope(&self, principal: Principal) -> Arc<Scope> {
        Arc::new(Scope::new(Arc::clone(&self.service), principal, self.limit.budget(), self.settings.timeout))
    }

    /// How long an answer may become.
    pub(super) fn limit(&self) -> &AnswerLimit {
        &self.limit
    }
}

impl Allowed {
    /// A document that cannot be parsed, or has no such operation, is refused by the execution.
    fn check(self, request: &mut Request) -> Result<()> {
        match self {
            Self::All => Ok(()),
            Self::Queries => match selected_operation(request) {
                None | Some(OperationType::Query) => Ok(()),
                Some(_) => Err(Error::method_not_allowed("only queries can be sent by GET")),
            },
            Self::QueriesAndSubscriptions => match selected_operation(request) {
                Some(OperationType::Mutation) => {
                    Err(Error::forbidden("send mutations by POST, so that each has an answer of its own"))
                }
                _ => Ok(()),
            },
        }
    }
}

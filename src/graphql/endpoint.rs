//! Executing what was read, the same over every transport.
//!
//! Owns the limits on a document, the loaders of a request, and how long a token opens a stream.

use std::{sync::Arc, time::Duration};

use async_graphql::{Request, Response, ValidationMode};
use futures_util::{Stream, StreamExt, stream};

use super::{
    GraphqlSettings, Schema, budget::AnswerLimit, documents::Documents, errors, limits, loaders::Loaders,
    negotiation::is_request_error, validated::Validated,
};
use crate::{
    domain::Principal,
    error::{Code, Error, Result},
    service::Service,
};

/// How often it is looked whether the token of a stream still works.
const TOKEN_INTERVAL: Duration = Duration::from_secs(3);

/// The schema, and what it may be asked.
#[derive(Clone)]
pub(super) struct Endpoint {
    pub(super) service: Arc<Service>,
    pub(super) documents: Documents,
    schema: Schema,
    /// The same for what is known to be valid.
    trusting: Schema,
    validated: Validated,
    settings: GraphqlSettings,
    limit: AnswerLimit,
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

impl Endpoint {
    pub(super) fn new(service: Arc<Service>, settings: GraphqlSettings, documents: Documents) -> Self {
        let schema = super::schema(Arc::clone(&service), &settings, ValidationMode::Strict);
        let trusting = super::schema(Arc::clone(&service), &settings, ValidationMode::Fast);
        let limit = AnswerLimit::new(settings.max_response_bytes.0);
        Self { service, documents, schema, trusting, validated: Validated::default(), settings, limit }
    }

    /// Executes a query or a mutation.
    ///
    /// An answer that would be too long is refused whole.
    pub(super) async fn execute(&self, principal: Principal, request: Request) -> Answer {
        let budget = self.limit.budget();
        let response = self.run(self.with_data(principal, request).data(Arc::clone(&budget))).await;
        if budget.is_exceeded() {
            return errors::refused(&self.limit.exceeded()).into();
        }
        Answer { response, is_long: budget.is_long() }
    }

    async fn run(&self, mut request: Request) -> Response {
        if self.validated.recall(&mut request) {
            return within(self.settings.timeout, self.trusting.execute(request)).await;
        }
        if let Err(error) = limits::check(&mut request, &self.settings) {
            return errors::refused(&error);
        }
        let candidate = Validated::candidate(&mut request);
        let response = within(self.settings.timeout, self.schema.execute(request)).await;
        if let Some(candidate) = candidate.filter(|_| !is_request_error(&response)) {
            self.validated.remember(candidate);
        }
        response
    }

    /// Executes any operation; a subscription has many responses.
    pub(super) fn execute_stream(
        &self,
        principal: Principal,
        mut request: Request,
    ) -> impl Stream<Item = Response> + Send + use<> {
        match limits::check(&mut request, &self.settings) {
            Ok(()) => {
                let request = self.with_data(principal, request).data(self.limit.budget()).data(self.limit.clone());
                self.schema.execute_stream(request)
            }
            Err(error) => stream::iter([errors::refused(&error)]).boxed(),
        }
    }

    /// Ends when the token does, to within a few seconds.
    pub(super) fn token_ends(&self, token: String) -> impl Future<Output = ()> + Send + use<> {
        let service = Arc::clone(&self.service);
        let token: Arc<str> = token.into();
        ends(move || {
            let (service, token) = (Arc::clone(&service), Arc::clone(&token));
            async move { service.authenticate(&token).await.map(drop) }
        })
    }

    fn with_data(&self, principal: Principal, request: Request) -> Request {
        let loaders = Loaders::new(Arc::clone(&self.service), principal.clone());
        request.data(principal).data(loaders)
    }

    /// How long an answer may become.
    pub(super) fn limit(&self) -> &AnswerLimit {
        &self.limit
    }
}

/// Ends when a lookup says that the token does not exist. The token was valid when the stream began, so a lookup that
/// fails, for example without a database, ends nothing.
async fn ends<F: Future<Output = Result<()>>>(look: impl Fn() -> F) {
    loop {
        tokio::time::sleep(TOKEN_INTERVAL).await;
        if look().await.is_err_and(|error| error.code() == Code::Unauthenticated) {
            return;
        }
    }
}

/// What an execution answers, or that it took too long.
async fn within(limit: Duration, execution: impl Future<Output = Response>) -> Response {
    let in_time = tokio::time::timeout(limit, execution).await;
    in_time.unwrap_or_else(|_| errors::refused(&Error::too_slow(limit)))
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use async_graphql::Value;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_token_ends_when_it_is_none_and_not_when_nobody_can_tell() {
        let looks = AtomicUsize::new(0);
        let look = || {
            std::future::ready(match looks.fetch_add(1, Ordering::Relaxed) {
                0 => Ok(()),
                1 => Err(Error::unavailable("the database is away", "gone")),
                2 => Err(Error::internal("a row makes no sense")),
                _ => Err(Error::unauthenticated()),
            })
        };
        ends(look).await;
        assert_eq!(looks.into_inner(), 4);
    }

    #[tokio::test]
    async fn an_execution_that_does_not_end_is_given_up_with_a_code() {
        let response = within(Duration::from_millis(1), std::future::pending()).await;
        let extensions = response.errors[0].extensions.as_ref().unwrap();
        assert_eq!(extensions.get("code"), Some(&Value::from("UNAVAILABLE")));
        let response = within(Duration::from_mins(1), async { Response::new(Value::from(1)) }).await;
        assert!(response.errors.is_empty());
    }
}

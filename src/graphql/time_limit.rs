//! The time limit.
//!
//! Owns the time limit of a query, of a mutation, and of each event of a subscription. The time between two events does not
//! count.

use std::{borrow::Cow, time::Duration};

use async_graphql::{
    ContextSelectionSet, OutputType, Positioned, Response, ServerResult, Value, parser::types::Field,
    registry::Registry,
};
use tokio::time::timeout;

use super::errors::{ApiError, error_response};
use crate::error::Error;

/// The response of an execution, or an error if the execution exceeds the limit.
pub(super) async fn with_time_limit(limit: Duration, execution: impl Future<Output = Response>) -> Response {
    timeout(limit, execution).await.unwrap_or_else(|_| error_response(&Error::too_slow(limit)))
}

/// An event of a subscription, which resolves within a time limit.
pub(crate) struct TimeLimited<T> {
    pub(super) value: T,
    pub(super) limit: Duration,
}

impl<T: OutputType> OutputType for TimeLimited<T> {
    fn type_name() -> Cow<'static, str> {
        T::type_name()
    }

    fn qualified_type_name() -> String {
        T::qualified_type_name()
    }

    fn create_type_info(registry: &mut Registry) -> String {
        T::create_type_info(registry)
    }

    async fn resolve(&self, ctx: &ContextSelectionSet<'_>, field: &Positioned<Field>) -> ServerResult<Value> {
        timeout(self.limit, self.value.resolve(ctx, field)).await.unwrap_or_else(|_| {
            let error = async_graphql::Error::from(ApiError::from(Error::too_slow(self.limit)));
            Err(ctx.set_error_path(error.into_server_error(field.pos)))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_execution_over_the_time_limit_fails_with_a_code() {
        let response = with_time_limit(Duration::from_millis(1), std::future::pending()).await;
        let extensions = response.errors[0].extensions.as_ref().unwrap();
        assert_eq!(extensions.get("code"), Some(&Value::from("UNAVAILABLE")));
        let response = with_time_limit(Duration::from_mins(1), async { Response::new(Value::from(1)) }).await;
        assert!(response.errors.is_empty());
    }
}

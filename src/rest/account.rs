//! `/me`: the caller's account.

use std::sync::Arc;

use axum::{
    Json,
    extract::State,
    response::{IntoResponse, Response},
};

use super::{NO_STORE, bodies::AccountBody};
use crate::{
    http::{Caller, Problem},
    service::Service,
};

/// Show your account
///
/// What you use, and how much you may use.
#[utoipa::path(
    get, path = "/me", operation_id = "getAccount", tag = "account",
    responses((status = 200, description = "The account.", body = AccountBody, headers(("Cache-Control")))),
)]
pub(super) async fn show(State(service): State<Arc<Service>>, Caller(principal): Caller) -> Result<Response, Problem> {
    let account = service.account(&principal).await?;
    Ok((NO_STORE, Json(AccountBody::from(account))).into_response())
}

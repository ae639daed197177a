//! The JSON body of the state of the server.

use serde::Serialize;
use utoipa::ToSchema;

/// The state of the server.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Health)]
pub(in crate::rest) struct HealthBody {
    pub(in crate::rest) status: &'static str,
}

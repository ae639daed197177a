//! The JSON body of the limits.

use serde::Serialize;
use utoipa::ToSchema;

use crate::service::Limits;

/// The limits of every upload.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Limits)]
pub(in crate::rest) struct LimitsBody {
    /// The size of a part, unless a file would have more than `max_parts` parts.
    chunk_size_bytes: u64,
    max_parts: u32,
    max_file_size_bytes: u64,
}

impl From<&Limits> for LimitsBody {
    fn from(limits: &Limits) -> Self {
        Self {
            chunk_size_bytes: limits.chunk_size.0,
            max_parts: limits.max_parts,
            max_file_size_bytes: limits.max_file_size.0,
        }
    }
}

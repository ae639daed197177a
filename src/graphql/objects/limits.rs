//! `UploadLimits`.

use async_graphql::SimpleObject;

use crate::{graphql::scalars::BigInt, service::Limits};

/// What the server accepts.
#[derive(SimpleObject)]
pub(crate) struct UploadLimits {
    /// The usual size of a part. A file that would have more than `maxParts` parts gets larger ones: see
    /// `chunkSizeBytes` of its session.
    chunk_size_bytes: BigInt,
    /// The maximum number of parts of a session.
    max_parts: u32,
    /// The size of the largest file.
    max_file_size_bytes: BigInt,
}

impl From<&Limits> for UploadLimits {
    fn from(limits: &Limits) -> Self {
        Self {
            chunk_size_bytes: BigInt(limits.chunk_size.0),
            max_parts: limits.max_parts,
            max_file_size_bytes: BigInt(limits.max_file_size.0),
        }
    }
}

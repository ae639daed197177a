//! The inputs of the mutations.

use async_graphql::{ID, InputObject};

use crate::graphql::scalars::{BigInt, DateTime, JsonObject};

/// The file to create a session for.
#[derive(InputObject)]
pub(super) struct CreateUploadSessionInput {
    /// The file's name on your side: 1 to 1,024 bytes, no control characters.
    pub(super) original_filename: String,
    /// Its media type; by default `application/octet-stream`.
    pub(super) content_type: Option<String>,
    /// Its exact size in bytes.
    pub(super) total_size_bytes: BigInt,
    /// Its SHA-256 in hex, if you know it. If the received bytes have another digest, the session fails.
    pub(super) sha256: Option<String>,
    /// Its CRC-64/NVME, 8 bytes in base64; the same applies.
    #[graphql(name = "crc64nvme")]
    pub(super) crc64nvme: Option<String>,
    /// Your own data about the file. The server returns it with the file.
    pub(super) metadata: Option<JsonObject>,
    /// Your own key for this request, different for every session. If you repeat the request with the same key and input,
    /// you get the same session.
    pub(super) idempotency_key: Option<String>,
    /// Whether the server finalizes the session as soon as it has all bytes, without a call of `finalizeUploadSession`.
    #[graphql(default)]
    pub(super) auto_finalize: bool,
    /// When the server deletes the stored file; in the future. By default, the settings of the server say how long it keeps
    /// the file.
    pub(super) retain_until: Option<DateTime>,
}

/// Which session to finalize.
#[derive(InputObject)]
pub(super) struct FinalizeUploadSessionInput {
    /// The session's id.
    pub(super) id: ID,
    /// The file's SHA-256 in hex, if you know it. If the received bytes have another digest, the session stays open.
    pub(super) sha256: Option<String>,
    /// The file's CRC-64/NVME, 8 bytes in base64; the same applies.
    #[graphql(name = "crc64nvme")]
    pub(super) crc64nvme: Option<String>,
    /// The SHA-256 in hex over the SHA-256 digests of the parts of your file. If the session has other parts, it stays
    /// open.
    pub(super) composite_sha256: Option<String>,
}

/// Which session to abort.
#[derive(InputObject)]
pub(super) struct AbortUploadSessionInput {
    /// The session's id.
    pub(super) id: ID,
}

/// Of which file to compute the SHA-256.
#[derive(InputObject)]
pub(super) struct ComputeFileSha256Input {
    /// The file's id.
    pub(super) id: ID,
}

/// Which file to delete.
#[derive(InputObject)]
pub(super) struct DeleteFileInput {
    /// The file's id.
    pub(super) id: ID,
}

/// For which file to create a link.
#[derive(InputObject)]
pub(super) struct CreateDownloadLinkInput {
    /// The file's id.
    pub(super) id: ID,
    /// How long the link is valid, such as `30m` or `12h`: at most 7 days, by default an hour.
    pub(super) expires_in: Option<String>,
}

/// For which session to create a token.
#[derive(InputObject)]
pub(super) struct CreateUploadTokenInput {
    /// The session's id.
    pub(super) id: ID,
    /// How long the token is valid, such as `30m` or `12h`. By default, as long as the session is used.
    pub(super) expires_in: Option<String>,
}

//! What a client asks for when it creates a session.
//!
//! Owns its fields. Does not own the checks of what clients send: those are in `service/create`.

use super::{Crc64Nvme, Metadata, PartPlan, Sha256Digest, Timestamp};

/// The input of a request that creates a session, after the checks.
#[derive(Clone, Debug)]
pub struct UploadRequest {
    /// The file's name on the client's side.
    pub original_filename: String,
    /// Its media type.
    pub content_type: String,
    /// How it is cut into parts.
    pub plan: PartPlan,
    /// Its SHA-256, if the client declares it.
    pub declared_sha256: Option<Sha256Digest>,
    /// Its CRC-64/NVME, if the client declares it.
    pub declared_crc64nvme: Option<Crc64Nvme>,
    /// The metadata that the client attaches to it.
    pub metadata: Metadata,
    /// The client's name for the request; unique per owner.
    pub idempotency_key: Option<String>,
    /// Whether the server finalizes the session as soon as it has all bytes.
    pub auto_finalize: bool,
    /// The metadata as a tus client sent it.
    pub upload_metadata: Option<String>,
    /// When the server deletes the stored file, if the client chooses a time.
    pub retain_until: Option<Timestamp>,
}

impl UploadRequest {
    /// A request without any option.
    pub fn new(original_filename: &str, content_type: &str, plan: PartPlan) -> Self {
        Self {
            original_filename: original_filename.to_owned(),
            content_type: content_type.to_owned(),
            plan,
            declared_sha256: None,
            declared_crc64nvme: None,
            metadata: Metadata::default(),
            idempotency_key: None,
            auto_finalize: false,
            upload_metadata: None,
            retain_until: None,
        }
    }
}

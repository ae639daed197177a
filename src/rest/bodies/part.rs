//! The JSON bodies of parts.

use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::{
    domain::{Crc64Nvme, PartRecord, SessionStatus, Sha256Digest, Timestamp},
    service::Receipt,
};

/// `GET /uploads/sessions/{id}/parts`.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(in crate::rest) struct PartsParams {
    /// The number of parts on a page. A larger number counts as 1,000.
    #[param(format = "uint64", minimum = 1, maximum = 18_446_744_073_709_551_615_u64, default = 100)]
    pub(in crate::rest) limit: Option<u64>,
    /// The `next` of the page before: only parts with larger numbers.
    #[serde(default)]
    #[param(maximum = 4_294_967_295_u32)]
    pub(in crate::rest) after: u32,
}

/// A received part.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Part)]
pub(in crate::rest) struct PartBody {
    #[schema(minimum = 1)]
    part_number: u32,
    /// Where it begins in the file.
    offset_bytes: u64,
    size_bytes: u64,
    #[schema(value_type = Sha256Digest)]
    sha256: String,
    /// Null if an earlier version of the server received the part.
    #[schema(required, value_type = Option<Crc64Nvme>)]
    crc64nvme: Option<String>,
    #[schema(value_type = String, format = DateTime)]
    received_at: Timestamp,
}

impl From<&PartRecord> for PartBody {
    fn from(record: &PartRecord) -> Self {
        Self {
            part_number: record.part.number,
            offset_bytes: record.part.offset_bytes,
            size_bytes: record.part.size_bytes,
            sha256: record.sha256.to_string(),
            crc64nvme: record.crc64nvme.map(|checksum| checksum.to_string()),
            received_at: record.received_at,
        }
    }
}

/// A page of received parts, by number.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = PartPage)]
pub(in crate::rest) struct PartsBody {
    pub(in crate::rest) parts: Vec<PartBody>,
    /// The cursor of the next page; null if there are no more.
    #[schema(required)]
    pub(in crate::rest) next: Option<u32>,
}

/// A stored part, and the session after it.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = PartReceipt)]
pub(in crate::rest) struct ReceiptBody {
    #[serde(flatten)]
    part: PartBody,
    /// The status of the session.
    #[schema(value_type = SessionStatus)]
    status: &'static str,
    completed_parts: u32,
    total_parts: u32,
    version: u64,
}

impl From<&Receipt> for ReceiptBody {
    fn from(receipt: &Receipt) -> Self {
        let session = &receipt.session;
        Self {
            part: (&receipt.part).into(),
            status: session.status.as_str(),
            completed_parts: session.completed_parts(),
            total_parts: session.plan.total_parts(),
            version: session.version,
        }
    }
}

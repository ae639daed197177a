//! `UploadPart` and `PartRange`.

use async_graphql::SimpleObject;

use crate::{
    domain,
    graphql::scalars::{BigInt, DateTime},
};

/// A range of part numbers, both ends included, counted from 1. Lists of ranges are ascending, and no two ranges in them
/// touch or overlap.
#[derive(SimpleObject)]
pub(crate) struct PartRange {
    /// The first part of the range.
    first: u32,
    /// The last part of the range; equal to `first` for a single part.
    last: u32,
    /// How many parts the range has.
    count: u32,
}

impl From<domain::PartRange> for PartRange {
    fn from(range: domain::PartRange) -> Self {
        Self { first: range.first, last: range.last, count: range.count() }
    }
}

/// A part that has arrived and is durable.
#[derive(SimpleObject)]
pub(crate) struct UploadPart {
    /// Its number, counted from 1.
    part_number: u32,
    /// Where its first byte lies in the file.
    offset_bytes: BigInt,
    /// Its size in bytes.
    size_bytes: BigInt,
    /// The SHA-256 of its bytes in hex: compare it with the same part of your file before you resume.
    sha256: String,
    /// The CRC-64/NVME of its bytes: 8 bytes in base64, as S3 writes it. Null if an earlier version of the server received the part.
    #[graphql(name = "crc64nvme")]
    crc64nvme: Option<String>,
    /// When the server recorded it.
    received_at: DateTime,
}

impl From<&domain::PartRecord> for UploadPart {
    fn from(record: &domain::PartRecord) -> Self {
        Self {
            part_number: record.part.number,
            offset_bytes: BigInt(record.part.offset_bytes),
            size_bytes: BigInt(record.part.size_bytes),
            sha256: record.sha256.to_string(),
            crc64nvme: record.crc64nvme.map(|checksum| checksum.to_string()),
            received_at: DateTime(record.received_at),
        }
    }
}

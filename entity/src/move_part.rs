//! The table `move_part`: the parts that `partway move` has copied to this database's storage, and whose bytes are durable there.
//! It has rows only while a move into this database is not finished.

use sea_orm::entity::prelude::*;

/// One row of `move_part`.
#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "move_part")]
pub struct Model {
    /// The session.
    #[sea_orm(primary_key, auto_increment = false)]
    pub session_id: Uuid,
    /// Counted from 1. The parts have the size in `move_upload`.
    #[sea_orm(primary_key, auto_increment = false)]
    pub part_number: i64,
    /// SHA-256 of the part's bytes, 32 bytes.
    pub sha256: Vec<u8>,
    /// CRC-64/NVME of the part's bytes, 8 bytes, big-endian.
    pub crc64nvme: Vec<u8>,
    /// The object store's etag of the part. NULL on the local disk.
    pub storage_etag: Option<String>,
    /// UTC, microseconds.
    pub moved_at: DateTimeUtc,
}

impl ActiveModelBehavior for ActiveModel {}

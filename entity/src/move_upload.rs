//! The table `move_upload`: the uploads whose bytes `partway move` copies to this database's storage. It has rows only while a
//! move into this database is not finished.

use sea_orm::entity::prelude::*;

/// One row of `move_upload`.
#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "move_upload")]
pub struct Model {
    /// The session, which has no row of its own yet.
    #[sea_orm(primary_key, auto_increment = false)]
    pub session_id: Uuid,
    /// Size of every part in `move_part` except the last, in bytes. A store may need other parts of a stored file than those in which
    /// it arrived.
    pub chunk_size_bytes: i64,
    /// The object store's id of the multipart upload. NULL before the first part and on the local disk.
    pub storage_upload_id: Option<String>,
    /// As in `upload_session`.
    pub storage_checksum: Option<String>,
    /// Where the complete file is. NULL until it is complete, and for an open session.
    pub location: Option<String>,
    /// SHA-256 of the tail that was copied, 32 bytes. NULL if none was.
    pub tail_sha256: Option<Vec<u8>>,
    /// The object that holds the tail. NULL if none was copied, and on the local disk.
    pub tail_location: Option<String>,
}

impl ActiveModelBehavior for ActiveModel {}

//! The table `upload_session`: an upload's state, with the received parts as one compressed set.

use sea_orm::entity::prelude::*;

/// One row of `upload_session`.
#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "upload_session", model_attrs(derive(sqlx::FromRow)))]
pub struct Model {
    /// UUID version 7, so ids sort by creation time.
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: Uuid,
    /// The file that the session uploads.
    #[sea_orm(unique)]
    pub file_id: Uuid,
    /// The owner of the session. Also in `upload_file`; the copy here saves a status read the second table.
    pub owner: String,
    /// The file's name in Unicode normal form C. The copy here saves a list by name and size the second table.
    pub filename_key: String,
    /// `INIT`, `IN_PROGRESS`, `COMPLETE`, `FAILED` or `ABORTED`.
    pub status: String,
    /// Why the session ended without a file. NULL otherwise.
    pub status_reason: Option<String>,
    /// Size of every part except the last, in bytes.
    pub chunk_size_bytes: i64,
    /// Size of the whole file, in bytes.
    pub total_size_bytes: i64,
    /// Number of parts in the whole file.
    pub total_parts: i64,
    /// Number of parts in `received_parts`, for people who read the table.
    pub completed_parts: i64,
    /// Bytes in the received parts.
    pub bytes_received: i64,
    /// The received part numbers as a Roaring bitmap, portable format.
    pub received_parts: Vec<u8>,
    /// Where the latest append ended. If it lies inside a part that is not received, the bytes of that part before it are the
    /// session's tail.
    pub append_offset: i64,
    /// SHA-256 of the tail, 32 bytes. NULL if there is no tail.
    pub tail_sha256: Option<Vec<u8>>,
    /// The object that holds the tail. NULL if there is no tail, and on the local disk.
    pub tail_location: Option<String>,
    /// True if the server finalizes the session as soon as it has all bytes.
    pub auto_finalize: bool,
    /// Increases by one with every change.
    pub version: i64,
    /// The client's idempotency key for the create request, unique per owner. NULL if the client sent none.
    pub idempotency_key: Option<String>,
    /// SHA-256 that the client declared in its create request, 32 bytes. NULL if it declared none.
    pub declared_sha256: Option<Vec<u8>>,
    /// CRC-64/NVME that the client declared in its create request, 8 bytes, big-endian. NULL if it declared none.
    pub declared_crc64nvme: Option<Vec<u8>>,
    /// The object store's id of the multipart upload. NULL before the first part and on the local disk.
    pub storage_upload_id: Option<String>,
    /// The checksum of each part that the object store checks, and that the server must send: `CRC64NVME`. NULL if none.
    pub storage_checksum: Option<String>,
    /// True if the stored file was deleted. `upload_file.status` says the same; the copy here lets an index find the bytes to
    /// free.
    pub file_deleted: bool,
    /// True after the server has freed the bytes of a session that ended without a file, or whose file was deleted. False
    /// before, so the sweep frees bytes that a crashed server left.
    pub bytes_freed: bool,
    /// Whether the session's rows in `upload_part` exist: `KEPT`, `REMOVING` or `REMOVED`.
    pub part_rows: String,
    /// When the freeing lease expires. A server's sweep takes this lease before it frees the session's bytes.
    pub freeing_until: Option<DateTimeUtc>,
    /// When an open session expires.
    pub expires_at: DateTimeUtc,
    /// UTC, microseconds.
    pub created_at: DateTimeUtc,
    /// UTC, microseconds.
    pub updated_at: DateTimeUtc,
    /// The file that the session uploads.
    #[sea_orm(belongs_to, from = "file_id", to = "id")]
    pub file: BelongsTo<super::upload_file::Entity>,
    /// The session's parts.
    #[sea_orm(has_many)]
    pub parts: HasMany<super::upload_part::Entity>,
}

impl ActiveModelBehavior for ActiveModel {}

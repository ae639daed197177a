//! Which bytes a move has copied to this database's storage.
//!
//! Owns the rows of `move_upload` and `move_part`. A row is written after its bytes are durable, so a move that was killed goes on
//! where it stopped, and never counts bytes that are not there. The only id that is noted before its bytes is that of a
//! multipart upload. Does not own the rows of sessions and parts: `move_rows` makes them of these.

use entity::{move_part, move_upload};
use sea_orm::{
    ActiveValue::Set,
    EntityTrait, QueryFilter, QueryOrder,
    sea_query::{Expr, ExprTrait, OnConflict},
};

use super::{
    Db, Result, at_most_one,
    error::{retry_transaction, retry_transient},
    rows::{CorruptRow, storage_checksum},
};
use crate::domain::{Crc64Nvme, MultipartUpload, PartPlan, PartRecord, SessionId, Sha256Digest};

/// An upload that a move copies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MoveUpload {
    /// The session.
    pub session: SessionId,
    /// Size of every part that is copied, except the last.
    pub chunk_size_bytes: u64,
    /// The multipart upload in the target's store.
    pub upload: Option<MultipartUpload>,
    /// Where the complete file is. `None` until it is complete.
    pub location: Option<String>,
    /// The tail, if it was copied.
    pub tail: Option<MovedTail>,
}

/// A tail that was copied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MovedTail {
    /// The SHA-256 of its bytes.
    pub sha256: Sha256Digest,
    /// The object that holds it; `None` on a local disk.
    pub location: Option<String>,
}

impl Db {
    /// What a move has noted of a session.
    pub async fn move_upload(&self, id: SessionId) -> Result<Option<MoveUpload>> {
        let found = retry_transient(|| at_most_one(move_upload::Entity::find_by_id(id.0), &self.read)).await?;
        Ok(found.map(upload).transpose()?)
    }

    /// Notes it, or replaces what was noted.
    pub async fn save_move_upload(&self, upload: &MoveUpload) -> Result<()> {
        use move_upload::Column;
        let invalid = |column| CorruptRow::new("move_upload", upload.session.0, column);
        let row = move_upload::ActiveModel {
            session_id: Set(upload.session.0),
            chunk_size_bytes: Set(i64::try_from(upload.chunk_size_bytes).map_err(|_| invalid("chunk_size_bytes"))?),
            storage_upload_id: Set(upload.upload.as_ref().map(|upload| upload.id.clone())),
            storage_checksum: Set(upload.upload.as_ref().and_then(storage_checksum)),
            location: Set(upload.location.clone()),
            tail_sha256: Set(upload.tail.as_ref().map(|tail| tail.sha256.as_bytes().to_vec())),
            tail_location: Set(upload.tail.as_ref().and_then(|tail| tail.location.clone())),
        };
        let replace = OnConflict::column(Column::SessionId)
            .update_columns([
                Column::ChunkSizeBytes,
                Column::StorageUploadId,
                Column::StorageChecksum,
                Column::Location,
                Column::TailSha256,
                Column::TailLocation,
            ])
            .to_owned();
        let save = || move_upload::Entity::insert(row.clone()).on_conflict(replace.clone());
        retry_transient(|| save().exec_without_returning(&self.write)).await?;
        Ok(())
    }

    /// Forgets an upload with its parts. Their bytes must be freed before.
    pub async fn forget_move_upload(&self, id: SessionId) -> Result<()> {
        retry_transaction(async || {
            let tx = self.begin(None).await?;
            parts_of(id).exec(&tx).await?;
            move_upload::Entity::delete_many().filter(move_upload::COLUMN.session_id.eq(id.0)).exec(&tx).await?;
            Ok(tx.commit().await?)
        })
        .await
    }

    /// Every part that was copied, ascending. `plan` has the size of the parts.
    pub async fn moved_parts(&self, id: SessionId, plan: &PartPlan) -> Result<Vec<PartRecord>> {
        let wanted = move_part::Entity::find()
            .filter(move_part::COLUMN.session_id.eq(id.0))
            .order_by_asc(move_part::COLUMN.part_number);
        let found = retry_transient(|| wanted.clone().all(&self.read)).await?;
        Ok(found.into_iter().map(|row| part(row, plan)).collect::<Result<_, _>>()?)
    }

    /// Notes a part whose bytes are durable.
    pub async fn save_moved_part(&self, id: SessionId, record: &PartRecord) -> Result<()> {
        use move_part::Column;
        let crc64nvme = record.crc64nvme.ok_or_else(|| CorruptRow::new("move_part", id.0, "crc64nvme"))?;
        let row = move_part::ActiveModel {
            session_id: Set(id.0),
            part_number: Set(record.part.number.into()),
            sha256: Set(record.sha256.as_bytes().to_vec()),
            crc64nvme: Set(crc64nvme.to_bytes().to_vec()),
            storage_etag: Set(record.storage_etag.clone()),
            moved_at: Set(record.received_at),
        };
        let replace = OnConflict::columns([Column::SessionId, Column::PartNumber])
            .update_columns([Column::Sha256, Column::Crc64nvme, Column::StorageEtag, Column::MovedAt])
            .to_owned();
        let save = || move_part::Entity::insert(row.clone()).on_conflict(replace.clone());
        retry_transient(|| save().exec_without_returning(&self.write)).await?;
        Ok(())
    }

    /// Forgets these parts, which must be copied again or which the source does not have any more.
    pub async fn forget_moved_parts(&self, id: SessionId, numbers: &[u32]) -> Result<()> {
        for numbers in numbers.chunks(MAX_NUMBERS) {
            let numbers: Vec<i64> = numbers.iter().copied().map(i64::from).collect();
            let forget = parts_of(id).filter(Expr::col(move_part::Column::PartNumber).is_in(numbers));
            retry_transient(|| forget.clone().exec(&self.write)).await?;
        }
        Ok(())
    }

    /// Forgets the parts of a file that is complete.
    pub async fn forget_parts_of_moved_file(&self, id: SessionId) -> Result<()> {
        retry_transient(|| parts_of(id).exec(&self.write)).await?;
        Ok(())
    }
}

/// The number of part numbers in one statement.
const MAX_NUMBERS: usize = 1_000;

fn parts_of(id: SessionId) -> sea_orm::DeleteMany<move_part::Entity> {
    move_part::Entity::delete_many().filter(move_part::COLUMN.session_id.eq(id.0))
}

pub(super) fn upload(row: move_upload::Model) -> Result<MoveUpload, CorruptRow> {
    let invalid = |column| CorruptRow::new("move_upload", row.session_id, column);
    let sha256 = row.tail_sha256.as_deref().map(Sha256Digest::try_from).transpose();
    let sha256 = sha256.map_err(|_| invalid("tail_sha256"))?;
    Ok(MoveUpload {
        session: SessionId(row.session_id),
        chunk_size_bytes: u64::try_from(row.chunk_size_bytes).map_err(|_| invalid("chunk_size_bytes"))?,
        upload: row.storage_upload_id.map(|id| MultipartUpload { id, checks_crc64: row.storage_checksum.is_some() }),
        location: row.location,
        tail: sha256.map(|sha256| MovedTail { sha256, location: row.tail_location }),
    })
}

fn part(row: move_part::Model, plan: &PartPlan) -> Result<PartRecord, CorruptRow> {
    let invalid = |column| CorruptRow::new("move_part", row.session_id, column);
    let part = u32::try_from(row.part_number).ok().and_then(|number| plan.part(number));
    let crc64nvme = Crc64Nvme::try_from(row.crc64nvme.as_slice()).map_err(|_| invalid("crc64nvme"))?;
    Ok(PartRecord {
        part: part.ok_or_else(|| invalid("part_number"))?,
        sha256: Sha256Digest::try_from(row.sha256.as_slice()).map_err(|_| invalid("sha256"))?,
        crc64nvme: Some(crc64nvme),
        storage_etag: row.storage_etag,
        received_at: row.moved_at,
    })
}

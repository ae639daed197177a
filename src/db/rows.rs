//! Conversion of rows to domain values, and back.
//!
//! Owns which values of a column are valid. A row with an invalid value is an error that names its table, id and
//! column. There are no substitute values.

use entity::{event, upload_file, upload_part, upload_session};
use sea_orm::ActiveValue::{NotSet, Set};
use serde_json::value::RawValue;
use uuid::Uuid;

use crate::domain::{
    Crc64Nvme, Event, EventId, EventType, FileId, FileRecord, FileStatus, Metadata, MultipartUpload, OwnerName, Part,
    PartPlan, PartRecord, PartSet, Session, SessionId, SessionStatus, Sha256Digest, StatusReason, Tail, Upload,
    filename_key,
};

/// The values of `upload_session.part_rows`: the part rows are complete, some may be deleted, none is left.
pub(super) const PART_ROWS_KEPT: &str = "KEPT";
pub(super) const PART_ROWS_REMOVING: &str = "REMOVING";
pub(super) const PART_ROWS_REMOVED: &str = "REMOVED";

/// The value of `upload_session.storage_checksum`.
const CRC64NVME: &str = "CRC64NVME";

/// A row with an invalid value in a column.
#[derive(Debug, thiserror::Error)]
#[error("{table} {id}: column {column} has an invalid value")]
pub struct CorruptRow {
    table: &'static str,
    id: String,
    column: &'static str,
}

impl CorruptRow {
    pub(super) fn new(table: &'static str, id: Uuid, column: &'static str) -> Self {
        Self { table, id: id.to_string(), column }
    }

    /// An account whose owner has an invalid name.
    pub(super) fn of_owner(name: &str) -> Self {
        Self { table: "account", id: format!("{name:?}"), column: "owner" }
    }
}

/// The table and the id of a row, for errors.
#[derive(Clone, Copy)]
struct Row(&'static str, Uuid);

impl Row {
    fn check<T>(self, column: &'static str, value: Option<T>) -> Result<T, CorruptRow> {
        value.ok_or_else(|| CorruptRow::new(self.0, self.1, column))
    }

    fn count<T: TryFrom<i64>>(self, column: &'static str, value: i64) -> Result<T, CorruptRow> {
        self.check(column, T::try_from(value).ok())
    }

    /// Converts a size or a count for its column. The settings and `domain` limit all of them to `i64::MAX`.
    fn stored(self, column: &'static str, value: u64) -> Result<i64, CorruptRow> {
        self.check(column, i64::try_from(value).ok())
    }

    fn digest(self, column: &'static str, bytes: &[u8]) -> Result<Sha256Digest, CorruptRow> {
        self.check(column, Sha256Digest::try_from(bytes).ok())
    }

    fn optional_digest(self, column: &'static str, bytes: Option<&[u8]>) -> Result<Option<Sha256Digest>, CorruptRow> {
        bytes.map(|bytes| self.digest(column, bytes)).transpose()
    }

    fn optional_crc64(self, column: &'static str, bytes: Option<&[u8]>) -> Result<Option<Crc64Nvme>, CorruptRow> {
        bytes.map(|bytes| self.check(column, Crc64Nvme::try_from(bytes).ok())).transpose()
    }
}

pub(super) fn version(id: SessionId, version: i64) -> Result<u64, CorruptRow> {
    Row("upload_session", id.0).count("version", version)
}

pub(super) fn session(row: upload_session::Model) -> Result<Session, CorruptRow> {
    let at = Row("upload_session", row.id);
    let plan = PartPlan::new(
        at.count("total_size_bytes", row.total_size_bytes)?,
        at.count("chunk_size_bytes", row.chunk_size_bytes)?,
    );
    let plan = at.check("chunk_size_bytes", plan.ok())?;
    let received = at.check("received_parts", PartSet::from_bytes(&row.received_parts))?;
    let append_offset = at.count("append_offset", row.append_offset)?;
    let tail = tail(at, &plan, append_offset, row.tail_sha256.as_deref(), row.tail_location)?;
    let reason = StatusReason::parse;
    Ok(Session {
        id: SessionId(row.id),
        file_id: FileId(row.file_id),
        owner: at.check("owner", OwnerName::parse(&row.owner))?,
        status: at.check("status", SessionStatus::parse(&row.status))?,
        status_reason: row.status_reason.map(|name| at.check("status_reason", reason(&name))).transpose()?,
        plan,
        received,
        bytes_received: at.count("bytes_received", row.bytes_received)?,
        append_offset,
        tail,
        auto_finalize: row.auto_finalize,
        file_deleted: row.file_deleted,
        keeps_part_records: at.check("part_rows", keeps_part_records(&row.part_rows))?,
        version: at.count("version", row.version)?,
        idempotency_key: row.idempotency_key,
        declared_sha256: at.optional_digest("declared_sha256", row.declared_sha256.as_deref())?,
        declared_crc64nvme: at.optional_crc64("declared_crc64nvme", row.declared_crc64nvme.as_deref())?,
        storage_upload: storage_upload(at, row.storage_upload_id, row.storage_checksum.as_deref())?,
        expires_at: row.expires_at,
        created_at: row.created_at,
        updated_at: row.updated_at,
    })
}

fn storage_upload(at: Row, id: Option<String>, checksum: Option<&str>) -> Result<Option<MultipartUpload>, CorruptRow> {
    let is_known = checksum.is_none_or(|checksum| checksum == CRC64NVME);
    at.check("storage_checksum", is_known.then_some(()))?;
    Ok(id.map(|id| MultipartUpload { id, checks_crc64: checksum.is_some() }))
}

pub(super) fn storage_checksum(upload: &MultipartUpload) -> Option<String> {
    upload.checks_crc64.then(|| CRC64NVME.to_owned())
}

fn keeps_part_records(part_rows: &str) -> Option<bool> {
    match part_rows {
        PART_ROWS_KEPT => Some(true),
        PART_ROWS_REMOVING | PART_ROWS_REMOVED => Some(false),
        _ => None,
    }
}

/// The tail ends at `append_offset`, and its part begins after parts without a gap.
fn tail(
    at: Row,
    plan: &PartPlan,
    append_offset: u64,
    sha256: Option<&[u8]>,
    location: Option<String>,
) -> Result<Option<Tail>, CorruptRow> {
    let Some(sha256) = at.optional_digest("tail_sha256", sha256)? else { return Ok(None) };
    let part = plan.part_at(append_offset).filter(|part| part.offset_bytes < append_offset);
    let part = at.check("append_offset", part)?;
    Ok(Some(Tail { part, bytes: append_offset - part.offset_bytes, sha256, location }))
}

pub(super) fn session_row(Upload { session, file }: &Upload) -> Result<upload_session::ActiveModel, CorruptRow> {
    let at = Row("upload_session", session.id.0);
    Ok(upload_session::ActiveModel {
        id: Set(session.id.0),
        file_id: Set(session.file_id.0),
        owner: Set(session.owner.to_string()),
        filename_key: Set(filename_key(&file.original_filename)),
        chunk_size_bytes: Set(at.stored("chunk_size_bytes", session.plan.chunk_size_bytes())?),
        total_size_bytes: Set(at.stored("total_size_bytes", session.plan.total_size_bytes())?),
        total_parts: Set(session.plan.total_parts().into()),
        declared_sha256: Set(session.declared_sha256.map(|digest| digest.as_bytes().to_vec())),
        declared_crc64nvme: Set(session.declared_crc64nvme.map(|checksum| checksum.to_bytes().to_vec())),
        bytes_freed: Set(false),
        part_rows: Set(PART_ROWS_KEPT.to_owned()),
        storage_upload_id: Set(session.storage_upload.as_ref().map(|upload| upload.id.clone())),
        storage_checksum: Set(session.storage_upload.as_ref().and_then(storage_checksum)),
        created_at: Set(session.created_at),
        ..session_update(session)?
    })
}

/// The columns that change when a session changes.
pub(super) fn session_update(session: &Session) -> Result<upload_session::ActiveModel, CorruptRow> {
    let at = Row("upload_session", session.id.0);
    Ok(upload_session::ActiveModel {
        id: Set(session.id.0),
        status: Set(session.status.as_str().to_owned()),
        status_reason: Set(session.status_reason.map(|reason| reason.as_str().to_owned())),
        completed_parts: Set(session.completed_parts().into()),
        bytes_received: Set(at.stored("bytes_received", session.bytes_received)?),
        received_parts: Set(session.received.to_bytes()),
        append_offset: Set(at.stored("append_offset", session.append_offset)?),
        tail_sha256: Set(session.tail.as_ref().map(|tail| tail.sha256.as_bytes().to_vec())),
        tail_location: Set(session.tail.as_ref().and_then(|tail| tail.location.clone())),
        auto_finalize: Set(session.auto_finalize),
        file_deleted: Set(session.file_deleted),
        idempotency_key: Set(session.idempotency_key.clone()),
        version: Set(at.stored("version", session.version)?),
        expires_at: Set(session.expires_at),
        updated_at: Set(session.updated_at),
        file_id: NotSet,
        owner: NotSet,
        filename_key: NotSet,
        chunk_size_bytes: NotSet,
        total_size_bytes: NotSet,
        total_parts: NotSet,
        declared_sha256: NotSet,
        declared_crc64nvme: NotSet,
        storage_upload_id: NotSet,
        storage_checksum: NotSet,
        bytes_freed: NotSet,
        part_rows: NotSet,
        freeing_until: NotSet,
        created_at: NotSet,
    })
}

pub(super) fn file(row: upload_file::Model) -> Result<FileRecord, CorruptRow> {
    let at = Row("upload_file", row.id);
    Ok(FileRecord {
        id: FileId(row.id),
        owner: at.check("owner", OwnerName::parse(&row.owner))?,
        original_filename: row.original_filename,
        content_type: row.content_type,
        size_bytes: at.count("size_bytes", row.size_bytes)?,
        sha256: at.optional_digest("sha256", row.sha256.as_deref())?,
        crc64nvme: at.optional_crc64("crc64nvme", row.crc64nvme.as_deref())?,
        composite_sha256: at.optional_digest("composite_sha256", row.composite_sha256.as_deref())?,
        metadata: at.check("metadata", Metadata::from_stored(row.metadata))?,
        upload_metadata: row.upload_metadata,
        status: at.check("status", FileStatus::parse(&row.status))?,
        location: row.location,
        retain_until: row.retain_until,
        created_at: row.created_at,
        updated_at: row.updated_at,
    })
}

pub(super) fn file_row(file: &FileRecord) -> Result<upload_file::ActiveModel, CorruptRow> {
    let at = Row("upload_file", file.id.0);
    Ok(upload_file::ActiveModel {
        id: Set(file.id.0),
        owner: Set(file.owner.to_string()),
        original_filename: Set(file.original_filename.clone()),
        content_type: Set(file.content_type.clone()),
        size_bytes: Set(at.stored("size_bytes", file.size_bytes)?),
        sha256: Set(file.sha256.map(|digest| digest.as_bytes().to_vec())),
        crc64nvme: Set(file.crc64nvme.map(|checksum| checksum.to_bytes().to_vec())),
        composite_sha256: Set(file.composite_sha256.map(|digest| digest.as_bytes().to_vec())),
        metadata: Set(file.metadata.as_json().get().to_owned()),
        upload_metadata: Set(file.upload_metadata.clone()),
        status: Set(file.status.as_str().to_owned()),
        location: Set(file.location.clone()),
        retain_until: Set(file.retain_until),
        created_at: Set(file.created_at),
        updated_at: Set(file.updated_at),
    })
}

pub(super) fn part(row: &upload_part::Model, plan: &PartPlan) -> Result<PartRecord, CorruptRow> {
    let at = Row("upload_part", row.session_id);
    let number: u32 = at.count("part_number", row.part_number)?;
    let part = at.check("part_number", plan.part(number))?;
    at.check("size_bytes", (u64::try_from(row.size_bytes) == Ok(part.size_bytes)).then_some(()))?;
    Ok(PartRecord {
        part,
        sha256: at.digest("sha256", &row.sha256)?,
        crc64nvme: at.optional_crc64("crc64nvme", row.crc64nvme.as_deref())?,
        storage_etag: row.storage_etag.clone(),
        received_at: row.received_at,
    })
}

pub(super) fn part_row(id: SessionId, record: &PartRecord) -> Result<upload_part::ActiveModel, CorruptRow> {
    let Part { number, size_bytes, .. } = record.part;
    Ok(upload_part::ActiveModel {
        session_id: Set(id.0),
        part_number: Set(number.into()),
        size_bytes: Set(Row("upload_part", id.0).stored("size_bytes", size_bytes)?),
        sha256: Set(record.sha256.as_bytes().to_vec()),
        crc64nvme: Set(record.crc64nvme.map(|checksum| checksum.to_bytes().to_vec())),
        storage_etag: Set(record.storage_etag.clone()),
        received_at: Set(record.received_at),
    })
}

pub(super) fn event(row: event::Model) -> Result<Event, CorruptRow> {
    let at = Row("event", row.id);
    Ok(Event {
        id: EventId(row.id),
        position: row.position.map(|position| at.count("position", position)).transpose()?,
        event_type: at.check("event_type", EventType::parse(&row.event_type))?,
        owner: at.check("owner", OwnerName::parse(&row.owner))?,
        session_id: row.session_id.map(SessionId),
        file_id: FileId(row.file_id),
        data: at.check("data", RawValue::from_string(row.data).ok())?,
        created_at: row.created_at,
    })
}

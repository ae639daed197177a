//! What happened to an upload or a file, for applications.
//!
//! Owns which change of an upload is an event, its types, and its data. Does not own where events are kept and how they are
//! sent: that is `db/events` and `service/deliver`.

use std::{fmt, str::FromStr};

use serde::Serialize;
use serde_json::value::{RawValue, to_raw_value};
use uuid::Uuid;

use super::{
    FileId, FileStatus, InvalidId, Metadata, OwnerName, SessionId, SessionStatus, StatusReason, Timestamp, Upload,
    upload::UploadState,
};

/// The prefix of an event's id, by which people recognize it.
const PREFIX: &str = "evt_";

/// An event's id: `evt_` and a UUID version 7. It is the same in the feed and in every request to a webhook, so a receiver can
/// recognize an event that it has handled before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EventId(pub Uuid);

impl EventId {
    fn generate() -> Self {
        Self(Uuid::now_v7())
    }
}

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{PREFIX}{}", self.0)
    }
}

impl FromStr for EventId {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        let id: SessionId = text.strip_prefix(PREFIX).ok_or(InvalidId)?.parse()?;
        Ok(Self(id.0))
    }
}

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EventType {
    /// The file of a session is stored.
    UploadCompleted,
    /// A session failed: the bytes have another digest than the declared one, or the storage lost some.
    UploadFailed,
    /// The owner aborted a session.
    UploadAborted,
    /// A session expired.
    UploadExpired,
    /// A stored file was deleted, by its owner or at the end of its retention.
    FileDeleted,
}

impl EventType {
    /// Every type.
    pub const ALL: [Self; 5] =
        [Self::UploadCompleted, Self::UploadFailed, Self::UploadAborted, Self::UploadExpired, Self::FileDeleted];

    /// The name used in the database, in the protocols and in requests to webhooks.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::UploadCompleted => "upload.completed",
            Self::UploadFailed => "upload.failed",
            Self::UploadAborted => "upload.aborted",
            Self::UploadExpired => "upload.expired",
            Self::FileDeleted => "file.deleted",
        }
    }

    /// The type with this name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|event_type| event_type.as_str() == name)
    }

    /// The event of a session that ended without a file for this reason.
    pub fn of_reason(reason: StatusReason) -> Self {
        match reason {
            StatusReason::AbortedByOwner => Self::UploadAborted,
            StatusReason::Expired => Self::UploadExpired,
            StatusReason::ChecksumMismatch | StatusReason::BytesLost => Self::UploadFailed,
        }
    }

    fn between(before: UploadState, after: &Upload) -> Option<Self> {
        let Upload { session, file } = after;
        if before.session.is_open() && !session.status.is_open() {
            return match session.status_reason {
                Some(reason) => Some(Self::of_reason(reason)),
                None => (session.status == SessionStatus::Complete).then_some(Self::UploadCompleted),
            };
        }
        (before.file == FileStatus::Stored && file.status == FileStatus::Deleted).then_some(Self::FileDeleted)
    }
}

/// An event.
#[derive(Clone, Debug)]
pub struct Event {
    /// Its id.
    pub id: EventId,
    /// Its place in the order of all events, from 1. `None` until it is assigned.
    pub position: Option<u64>,
    /// What happened.
    pub event_type: EventType,
    /// The owner of the upload.
    pub owner: OwnerName,
    /// The session, if it is known.
    pub session_id: Option<SessionId>,
    /// The file.
    pub file_id: FileId,
    /// The session and the file as they were then: a JSON object of less than 20 kB.
    pub data: Box<RawValue>,
    /// When it happened.
    pub created_at: Timestamp,
}

/// The data of an event. A field of a damaged row is `None`.
#[derive(Debug, Serialize)]
struct Data<'a> {
    session_id: Uuid,
    file_id: Uuid,
    owner: &'a str,
    status_reason: Option<&'a str>,
    original_filename: Option<&'a str>,
    content_type: Option<&'a str>,
    size_bytes: Option<u64>,
    sha256: Option<String>,
    crc64nvme: Option<String>,
    composite_sha256: Option<String>,
    metadata: Option<&'a Metadata>,
}

impl Event {
    /// The event of the change of an upload from the state `before`. `None` if the change is no event.
    pub fn of_change(before: UploadState, after: &Upload) -> Option<Self> {
        let event_type = EventType::between(before, after)?;
        let Upload { session, file } = after;
        let data = Data {
            session_id: session.id.0,
            file_id: file.id.0,
            owner: file.owner.as_str(),
            status_reason: session.status_reason.map(StatusReason::as_str),
            original_filename: Some(&file.original_filename),
            content_type: Some(&file.content_type),
            size_bytes: Some(file.size_bytes),
            sha256: file.sha256.map(|digest| digest.to_string()),
            crc64nvme: file.crc64nvme.map(|checksum| checksum.to_string()),
            composite_sha256: file.composite_sha256.map(|digest| digest.to_string()),
            metadata: Some(&file.metadata),
        };
        Some(Self::new(event_type, session.owner.clone(), (session.id, file.id), &data, session.updated_at))
    }

    /// The event of the end of a session with a damaged row for this reason, or of the deletion of its file.
    pub fn of_unreadable(
        reason: Option<StatusReason>,
        owner: OwnerName,
        ids @ (session_id, file_id): (SessionId, FileId),
        now: Timestamp,
    ) -> Self {
        let data = Data {
            session_id: session_id.0,
            file_id: file_id.0,
            owner: owner.as_str(),
            status_reason: reason.map(StatusReason::as_str),
            original_filename: None,
            content_type: None,
            size_bytes: None,
            sha256: None,
            crc64nvme: None,
            composite_sha256: None,
            metadata: None,
        };
        let event_type = reason.map_or(EventType::FileDeleted, EventType::of_reason);
        Self::new(event_type, owner.clone(), ids, &data, now)
    }

    fn new(
        event_type: EventType,
        owner: OwnerName,
        (session_id, file_id): (SessionId, FileId),
        data: &Data<'_>,
        created_at: Timestamp,
    ) -> Self {
        let data = to_raw_value(data).expect("names and numbers are JSON");
        Self {
            id: EventId::generate(),
            position: None,
            event_type,
            owner,
            session_id: Some(session_id),
            file_id,
            data,
            created_at,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_has_one_spelling() {
        let id = EventId::generate();
        assert_eq!(id.to_string().parse(), Ok(id));
        for other in ["", "evt_", "evt_x", &id.0.to_string(), &format!("evt_{}", id.0.simple())] {
            assert_eq!(other.parse::<EventId>(), Err(InvalidId), "{other}");
        }
    }

    #[test]
    fn every_type_has_a_name_of_its_own() {
        for event_type in EventType::ALL {
            assert_eq!(EventType::parse(event_type.as_str()), Some(event_type));
        }
        assert_eq!(EventType::parse("upload.created"), None);
    }
}
